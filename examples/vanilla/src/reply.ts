import { ReplyDocument } from "../../generated/strings/graphql";
import { applyEvent, isRunning, type Message } from "../../shared/messages";
import { subscribe } from "./client";

/** Calls `onChange` with the reply after each event until it has finished; what it gives ends that. */
export function followReply(message: Message, onChange: (message: Message) => void): () => void {
  if (!isRunning(message)) return () => {};
  // The text at hand and its cursor go together: the first event follows the last character.
  return subscribe(
    ReplyDocument,
    { id: message.id, after: message.cursor },
    ({ messageStream }) => onChange((message = applyEvent(message, messageStream))),
    (error) => onChange({ ...message, error }),
  );
}
