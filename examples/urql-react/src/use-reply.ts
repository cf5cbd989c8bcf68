import { useState } from "react";
import { useSubscription } from "urql";

import { ReplyDocument } from "../../generated/documents/graphql";
import { applyEvent, isRunning, type Message } from "../../shared/messages";

/** A message as it is this moment: followed while it is written, from the cache before and after. */
export function useReply(message: Message): Message {
  // The text at hand and its cursor go together: the first event follows the last character.
  const [start] = useState(message);

  const [{ data: live = start, error }] = useSubscription(
    {
      query: ReplyDocument,
      variables: { id: start.id, after: start.cursor },
      // `MessageFinished` has the whole message: with it the cache is told.
      pause: !isRunning(message),
    },
    (live: Message = start, { messageStream }) => applyEvent(live, messageStream),
  );

  if (!isRunning(message)) return message;
  return { ...live, error: error ?? live.error };
}
