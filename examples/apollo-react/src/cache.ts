import type { ApolloCache } from "@apollo/client";

import { ConversationsDocument, type SendMutation, ThreadDocument } from "../../generated/documents/graphql";
import type { Message } from "../../shared/messages";

type Sent = SendMutation["sendMessage"];

/** Shows messages at the end of their conversation; one that is there already stays where it is. */
export function addMessages(cache: ApolloCache, conversationId: string, ...messages: Message[]): void {
  cache.updateQuery({ query: ThreadDocument, variables: { id: conversationId } }, (data) => {
    if (!data?.conversation) return undefined;
    const { edges } = data.conversation.messages;
    const known = new Set(edges.map(({ node }) => node.id));
    const added = edgesOf(...messages.filter(({ id }) => !known.has(id)));
    return {
      conversation: {
        ...data.conversation,
        messages: { ...data.conversation.messages, edges: [...edges, ...added] },
      },
    };
  });
}

/** Shows a conversation that has just begun: no need to load it. */
export function addConversation(cache: ApolloCache, { conversation, message, reply }: Sent): void {
  const messages = { __typename: "MessageConnection" as const, edges: edgesOf(message, reply) };
  cache.writeQuery({
    query: ThreadDocument,
    variables: { id: conversation.id },
    data: { conversation: { ...conversation, messages } },
  });
  const edge = { __typename: "ConversationEdge" as const, node: conversation };
  cache.updateQuery({ query: ConversationsDocument }, (data) => {
    if (!data) return undefined;
    return { conversations: { ...data.conversations, edges: [edge, ...data.conversations.edges] } };
  });
}

function edgesOf(...messages: Message[]) {
  return messages.map((node) => ({ __typename: "MessageEdge" as const, node }));
}
