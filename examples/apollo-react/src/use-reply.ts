import { useSubscription } from "@apollo/client/react";
import { useReducer, useState } from "react";

import { ReplyDocument } from "../../generated/documents/graphql";
import { applyEvent, isRunning, type Message } from "../../shared/messages";

/** A message as it is this moment: followed while it is written, from the cache before and after. */
export function useReply(message: Message): Message {
  // The text at hand and its cursor go together: the first event follows the last character.
  const [{ id, cursor }] = useState(message);
  const [live, apply] = useReducer(applyEvent, message);

  const { error } = useSubscription(ReplyDocument, {
    variables: { id, after: cursor },
    skip: !isRunning(message),
    // `MessageFinished` has the whole message: with it the cache is told.
    onData: ({ data: { data } }) => data && apply(data.messageStream),
  });

  if (!isRunning(message)) return message;
  return { ...live, error: error ?? live.error };
}
