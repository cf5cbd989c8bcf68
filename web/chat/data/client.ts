/** GraphQL over HTTP. */
import { documentOf } from "./document";
import { ServerError, toServerError, type GraphQLErrorLike } from "./errors";
import type { TypedDocumentString } from "./generated/graphql";
import { ViewerDocument } from "./generated/graphql";
import type { Tokens } from "./tokens";

const ANSWER_WITHIN_MS = 20_000;

interface Answer<Data> {
  readonly data?: Data | null;
  readonly errors?: readonly GraphQLErrorLike[];
}

/** Asks the server; a refused token is renewed on the way, and while none works, requests wait. */
export class Client {
  readonly #endpoint: URL;
  readonly #tokens: Tokens;
  readonly #closed = new AbortController();

  constructor(endpoint: URL, tokens: Tokens) {
    this.#endpoint = endpoint;
    this.#tokens = tokens;
  }

  /** The answer to one query or mutation. Rejects with `ServerError`. */
  async request<Data, Variables>(
    document: TypedDocumentString<Data, Variables>,
    variables: Variables,
  ): Promise<Data> {
    let owner = this.#tokens.owner.peek();
    for (;;) {
      const token = await this.#tokens.current();
      owner ??= this.#tokens.owner.peek();
      this.#expectOwner(owner);
      const data = await this.#post(token, document, variables);
      this.#expectOwner(owner);
      if (data !== null) {
        this.#tokens.accept(token);
        return data;
      }
      this.#tokens.refuse(token);
    }
  }

  /** Whether what the token source gives now is let in. Rejects with `ServerError` where nobody can tell. */
  async renewToken(): Promise<boolean> {
    const token = await this.#tokens.offer();
    if (token === null || (await this.#post(token, ViewerDocument, {})) === null) return false;
    this.#tokens.grant(token);
    return true;
  }

  /** Ends what is under way. */
  close(): void {
    this.#closed.abort();
  }

  /** What one user has asked for is not done, and not shown, for the next. */
  #expectOwner(owner: string | null): void {
    if (this.#tokens.owner.peek() !== owner) {
      throw new ServerError("Somebody else has signed in.", "UNAUTHENTICATED");
    }
  }

  /** The data, or null where the token is refused. */
  async #post<Data, Variables>(
    token: string,
    document: TypedDocumentString<Data, Variables>,
    variables: Variables,
  ): Promise<Data | null> {
    const deadline = AbortSignal.timeout(ANSWER_WITHIN_MS);
    const { status, answer } = await this.#fetch(
      token,
      JSON.stringify({ ...documentOf(document), variables }),
      deadline,
    );
    const error = (answer as Answer<Data> | null)?.errors?.[0];
    if (status === 401 || error?.extensions?.["code"] === "UNAUTHENTICATED") return null;
    if (error) throw toServerError(error);
    const data = (answer as Answer<Data> | null)?.data;
    if (data === null || data === undefined) throw unexpected(status);
    return data;
  }

  async #fetch(
    token: string,
    body: string,
    deadline: AbortSignal,
  ): Promise<{ status: number; answer: unknown }> {
    try {
      const response = await fetch(this.#endpoint, {
        method: "POST",
        body,
        signal: AbortSignal.any([deadline, this.#closed.signal]),
        headers: {
          Authorization: `Bearer ${token}`,
          "Content-Type": "application/json",
          Accept: "application/graphql-response+json, application/json;q=0.9",
        },
      });
      const text = await response.text();
      return { status: response.status, answer: parse(text) };
    } catch {
      if (deadline.aborted) throw new ServerError("The server did not answer in time.", "TIMEOUT");
      throw new ServerError("The server cannot be reached.", "NETWORK");
    }
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** What stands before the server may answer in its place, and not by GraphQL. */
function unexpected(status: number): ServerError {
  if (status === 429)
    return new ServerError("There were too many requests. Try again in a minute.", "RATE_LIMITED");
  if (status >= 502 && status <= 504) {
    return new ServerError("The server is not available at the moment. Try again shortly.", "UNAVAILABLE");
  }
  return new ServerError(`The server answered with status ${status}.`, "INTERNAL_SERVER_ERROR");
}
