import { useSubscription } from "@apollo/client/react";
import { useState } from "react";

import { ConversationEventsDocument } from "../../generated/documents/graphql";
import { addMessages } from "./cache";

/** Keeps a conversation in the cache as others, and other tabs, change it. */
export function useConversationEvents(conversation: { id: string; cursor: string }): void {
  const [{ id, cursor }] = useState(conversation);
  useSubscription(ConversationEventsDocument, {
    variables: { id, after: cursor },
    ignoreResults: true,
    // What has changed finds its place in the cache by its id; what is new must be put there.
    onData: ({ client, data: { data } }) => {
      const event = data?.conversationStream;
      if (event?.__typename === "MessageAdded") addMessages(client.cache, id, event.message);
    },
  });
}
