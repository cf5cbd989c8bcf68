import { useState } from "react";
import { useSubscription } from "urql";

import { ConversationEventsDocument } from "../../generated/documents/graphql";

/** Has the cache (`cache.ts`) told what others, and other tabs, do to a conversation. */
export function useConversationEvents(conversation: { id: string; cursor: string }): void {
  const [{ id, cursor }] = useState(conversation);
  useSubscription({ query: ConversationEventsDocument, variables: { id, after: cursor } });
}
