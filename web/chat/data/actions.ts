/** What the user may do with one message. */
import type { Client } from "./client";
import {
  RateMessageDocument,
  ResolveToolCallDocument,
  StopMessageDocument,
  type Rating,
} from "./generated/graphql";
import type { Message, MessageData } from "./message";

/** Stops a reply, at once here, then on the server: gives its state there. Rejects with `ServerError`. */
export async function stopReply(client: Client, message: Message): Promise<MessageData> {
  message.markStopping(true);
  try {
    const { stopMessage } = await client.request(StopMessageDocument, { input: { messageId: message.id } });
    return stopMessage.message;
  } catch (error) {
    message.markStopping(false);
    throw error;
  }
}

/** Answers a tool call that waits for approval; what comes of it comes by the reply's stream. */
export async function resolveToolCall(
  client: Client,
  message: Message,
  toolCallId: string,
  approve: boolean,
  note?: string,
): Promise<void> {
  const input = { messageId: message.id, toolCallId, approve, ...(note !== undefined && { note }) };
  await client.request(ResolveToolCallDocument, { input });
}

/** Shows and tells how good a reply is; null takes it back. */
export async function rateReply(client: Client, message: Message, rating: Rating | null): Promise<void> {
  const before = message.rating.peek();
  message.markRating(rating);
  try {
    await client.request(RateMessageDocument, { input: { messageId: message.id, rating } });
  } catch (error) {
    message.markRating(before);
    throw error;
  }
}
