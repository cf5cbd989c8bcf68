/** What a client shows when the server refuses: the same for all clients, with what each of them makes known. */
export class Refused extends Error {
  /**
   * @param {object} shown
   * @param {{ message: string, extensions?: { code?: string } }[]} [shown.errors] GraphQL errors
   * @param {number} [shown.status] of HTTP
   * @param {number} [shown.close] the code that a WebSocket was closed with
   * @param {unknown} [shown.cause]
   */
  constructor({ errors = [], status, close, cause }) {
    const reasons = errors.map(({ message }) => message).join('; ');
    super(reasons || cause?.message || `status ${status}, close code ${close}`, { cause });
    this.codes = errors.map(({ extensions }) => extensions?.code);
    this.status = status;
    this.close = close;
  }
}

/** The data of a result. Throws `Refused` where it has errors. */
export function dataOf({ data, errors }) {
  if (errors?.length) throw new Refused({ errors });
  return data;
}
