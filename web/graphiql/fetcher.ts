/** Queries and mutations by HTTP, subscriptions by WebSocket, both with the Headers editor's token. */
import { createGraphiQLFetcher, type Fetcher, type FetcherParams } from "@graphiql/toolkit";
import { Kind, parse, type DocumentNode } from "graphql";

const endpoint = new URL("graphql", document.baseURI);
const NEWEST_REPLY = `query NewestReply {
  conversations(first: 1) { edges { node { messages(last: 5) { edges { node { id role } } } } } }
}`;

type Headers = Record<string, string> | undefined;
type NewestReply = {
  data?: { conversations: { edges: { node: { messages: { edges: { node: { id: string; role: string } }[] } } }[] } };
};

/**
 * A fetcher that puts the newest reply in the place of an empty `messageId`. The schema is asked for before the
 * Headers editor is there: that request carries `authorization`, unless the editor says otherwise.
 */
export function createFetcher(authorization: Record<string, string>): Fetcher {
  const send = createGraphiQLFetcher({
    url: endpoint.href,
    subscriptionUrl: endpoint.href.replace(/^http/, "ws"),
    enableIncrementalDelivery: false,
  });
  return async (params, options) => {
    const headers: Headers = options?.headers;
    if (params.operationName === "IntrospectionQuery") {
      return send(params, { ...options, headers: { ...authorization, ...headers } });
    }
    const documentAST = tryParse(params.query);
    const operationName = chooseOperation(documentAST, params.operationName);
    return send(await withNewestReply({ ...params, operationName }, headers), { ...options, documentAST });
  };
}

/** None for a document with a syntax error, of which the server tells. */
function tryParse(query: string): DocumentNode | undefined {
  try {
    return parse(query);
  } catch {
    return undefined;
  }
}

/** GraphiQL knows the document of a tab that was just opened a moment late, and names an operation of the last one. */
function chooseOperation(document?: DocumentNode, chosen?: string | null): string | undefined {
  const operations = document?.definitions.filter(({ kind }) => kind === Kind.OPERATION_DEFINITION) ?? [];
  const names = operations.map((operation) => ("name" in operation ? operation.name?.value : undefined));
  if (chosen && names.includes(chosen)) return chosen;
  return names.length === 1 ? names[0] : undefined;
}

async function withNewestReply(params: FetcherParams, headers: Headers): Promise<FetcherParams> {
  if (params.variables?.messageId !== "") return params;
  const messageId = await findNewestReply(headers);
  if (!messageId) throw new Error('There is no reply yet: run the tab "SendMessage" first.');
  return { ...params, variables: { ...params.variables, messageId } };
}

async function findNewestReply(headers: Headers): Promise<string | undefined> {
  const response = await fetch(endpoint, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers },
    body: JSON.stringify({ query: NEWEST_REPLY }),
  });
  const { data }: NewestReply = await response.json();
  const messages = data?.conversations.edges[0]?.node.messages.edges ?? [];
  return messages.findLast(({ node }) => node.role === "ASSISTANT")?.node.id;
}
