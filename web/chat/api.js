/** GraphQL over HTTP. */

/** The server answered with an error: `code` as in `extensions.code`, and a message for people. */
export class ServerError extends Error {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

/** The token is missing, unknown or expired. */
export class Unauthenticated extends ServerError {
  constructor() {
    super("The server refused this token.", "UNAUTHENTICATED");
  }
}

/** The answer of one query or mutation; throws `ServerError`, or a plain error when the network fails. */
export async function request(token, query, variables = {}) {
  const response = await post(token, JSON.stringify({ query, variables }));
  if (response.status === 401) throw new Unauthenticated();
  const answer = await response.json().catch(() => ({}));
  const error = answer.errors?.[0];
  if (error?.extensions?.code === "UNAUTHENTICATED") throw new Unauthenticated();
  if (error) throw new ServerError(error.message, error.extensions?.code);
  if (!answer.data) throw new ServerError(`The server answered with status ${response.status}.`, "INTERNAL");
  return answer.data;
}

async function post(token, body) {
  try {
    return await fetch("graphql", {
      method: "POST",
      body,
      headers: {
        Authorization: `Bearer ${token}`,
        "Content-Type": "application/json",
        Accept: "application/graphql-response+json, application/json;q=0.9",
      },
    });
  } catch {
    throw new Error("The server cannot be reached.");
  }
}
