import type { TypedDocumentString } from "../../generated/strings/graphql";
import { endpoint } from "../../shared/endpoint";
import { socket } from "../../shared/socket";
import { events } from "../../shared/sse";
import { fetchWithToken } from "../../shared/token";

const stream = import.meta.env.VITE_TRANSPORT === "sse" ? events : socket;

/** The server said no. */
export class ServerError extends Error {
  constructor(
    message: string,
    readonly code: string,
  ) {
    super(message);
  }
}

/** The data of a query or a mutation; throws `ServerError`, and what `fetch` throws. */
export async function ask<Data, Variables extends Record<string, unknown>>(
  document: TypedDocumentString<Data, Variables>,
  variables: Variables,
): Promise<Data> {
  const response = await fetchWithToken(endpoint, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/graphql-response+json" },
    body: JSON.stringify(request(document, variables)),
  });
  const { data, errors } = await response.json();
  if (errors) throw refusal(errors);
  return data;
}

/** Calls `next` with the data of each event, `fail` if there are no more to come; what it gives ends both. */
export function subscribe<Data, Variables extends Record<string, unknown>>(
  document: TypedDocumentString<Data, Variables>,
  variables: Variables,
  next: (data: Data) => void,
  fail: (error: Error) => void,
): () => void {
  return stream.subscribe<Data>(request(document, variables), {
    next: ({ data }) => data && next(data),
    error: (problem) =>
      fail(Array.isArray(problem) ? refusal(problem) : new Error("The connection is lost.")),
    complete: () => {},
  });
}

function refusal(errors: { message: string; extensions?: { code?: string } }[]): ServerError {
  const [error] = errors;
  return new ServerError(
    error?.message ?? "The server refused.",
    error?.extensions?.code ?? "INTERNAL_SERVER_ERROR",
  );
}

/** The document itself, or its id, where the server knows the documents of this page. */
function request<Variables extends Record<string, unknown>>(
  document: TypedDocumentString<unknown, Variables>,
  variables: Variables,
) {
  const byId = import.meta.env.VITE_TRUSTED_DOCUMENTS === "true";
  // graphql-ws insists on a `query`.
  const which = byId ? { documentId: document.__meta__?.hash, query: "" } : { query: document.toString() };
  return { ...which, variables };
}
