/** How a document is named in a request. */
import type { TypedDocumentString } from "./generated/graphql";

/** Its text, and its id for servers that run documents by id only. */
export function documentOf<Data, Variables>(document: TypedDocumentString<Data, Variables>) {
  return { query: document.toString(), documentId: String(document.__meta__?.["hash"]) };
}
