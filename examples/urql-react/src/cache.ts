import { type Cache, cacheExchange } from "@urql/exchange-graphcache";

import {
  ConversationsDocument,
  type ConversationEventsSubscription,
  type SendMutation,
  type SendMutationVariables,
  ThreadDocument,
} from "../../generated/documents/graphql";
import schema from "../../generated/introspection.json";
import type { Message } from "../../shared/messages";

type Sent = SendMutation["sendMessage"];

/** What has an id finds its place by itself; what is new must be put there. */
export const cache = cacheExchange({
  schema,
  keys: {
    // Parts belong to their message; the id of a tool call is the model's, and unique in its message only.
    TextPart: () => null,
    ReasoningPart: () => null,
    ToolCallPart: () => null,
    MessageError: () => null,
    MessageConnection: () => null,
    MessageEdge: () => null,
    ConversationConnection: () => null,
    ConversationEdge: () => null,
  },
  updates: {
    Mutation: {
      sendMessage({ sendMessage }: SendMutation, { input }: SendMutationVariables, cache) {
        const { conversation, message, reply } = sendMessage;
        if (input.conversationId) addMessages(cache, conversation.id, message, reply);
        else addConversation(cache, sendMessage);
      },
    },
    Subscription: {
      conversationStream(
        { conversationStream: event }: ConversationEventsSubscription,
        { conversationId }: { conversationId: string },
        cache,
      ) {
        if (event.__typename === "MessageAdded") addMessages(cache, conversationId, event.message);
      },
    },
  },
});

/** Shows messages at the end of their conversation; one that is there already stays where it is. */
function addMessages(cache: Cache, conversationId: string, ...messages: Message[]): void {
  cache.updateQuery({ query: ThreadDocument, variables: { id: conversationId } }, (data) => {
    if (!data?.conversation) return data;
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
function addConversation(cache: Cache, { conversation, message, reply }: Sent): void {
  const messages = { __typename: "MessageConnection" as const, edges: edgesOf(message, reply) };
  cache.updateQuery({ query: ThreadDocument, variables: { id: conversation.id } }, () => ({
    conversation: { ...conversation, messages },
  }));
  const edge = { __typename: "ConversationEdge" as const, node: conversation };
  cache.updateQuery({ query: ConversationsDocument }, (data) => {
    return data && { conversations: { ...data.conversations, edges: [edge, ...data.conversations.edges] } };
  });
}

function edgesOf(...messages: Message[]) {
  return messages.map((node) => ({ __typename: "MessageEdge" as const, node }));
}
