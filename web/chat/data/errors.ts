/** What goes wrong between here and the server, in words for people. */

/** The codes of the API, and two of our own: the server was not reached, or gave no answer in time. */
export type ErrorCode =
  "NETWORK" | "TIMEOUT" | "UNAUTHENTICATED" | "FORBIDDEN" | "RATE_LIMITED" | (string & {});

/** An error as the server writes it. */
export interface GraphQLErrorLike {
  readonly message: string;
  readonly extensions?: Readonly<Record<string, unknown>>;
}

/** A request that failed: `message` is for people; `retryAfter` in seconds, where waiting helps. */
export class ServerError extends Error {
  override readonly name = "ServerError";
  readonly code: ErrorCode;
  readonly retryAfter: number | null;

  constructor(message: string, code: ErrorCode, retryAfter: number | null = null) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** The server's error, with the time of the next attempt where it tells one. */
export function toServerError(error: GraphQLErrorLike, now: Date = new Date()): ServerError {
  const { code, retryAfter } = error.extensions ?? {};
  const known = typeof code === "string" ? code : "INTERNAL_SERVER_ERROR";
  if (typeof retryAfter !== "number") return new ServerError(error.message, known);
  const what = error.message.replace(/\s*Try again\b.*$/s, "");
  return new ServerError(`${what} Try again ${inWords(retryAfter, now)}.`, known, retryAfter);
}

/** Whatever was thrown, in words for people. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** When a number of seconds has passed: "in 12 seconds", "in 3 minutes", or a time of day. */
export function inWords(seconds: number, now: Date = new Date()): string {
  const whole = Math.max(1, Math.ceil(seconds));
  if (whole < 90) return `in ${whole} ${whole === 1 ? "second" : "seconds"}`;
  if (whole < 3600) return `in ${Math.ceil(whole / 60)} minutes`;
  const time = new Date(now.getTime() + whole * 1000);
  const options: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit" };
  const day = time.getDate() === now.getDate() ? "" : " tomorrow";
  return `at ${time.toLocaleTimeString(undefined, options)}${day}`;
}
