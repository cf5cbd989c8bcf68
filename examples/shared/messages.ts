import type { MessageFieldsFragment, ReplySubscription } from "../generated/documents/graphql";

export type Message = MessageFieldsFragment;
export type ReplyEvent = ReplySubscription["messageStream"];

const FINISHED: Message["status"][] = ["COMPLETE", "STOPPED", "FAILED"];

/** Whether more will come of it. */
export function isRunning(message: Message): boolean {
  return !FINISHED.includes(message.status);
}

export function textOf(message: Message): string {
  return message.parts.map((part) => (part.__typename === "TextPart" ? part.text : "")).join("");
}

/** The message after an event of its stream; to apply an event twice changes nothing. */
export function applyEvent(message: Message, event: ReplyEvent): Message {
  const { cursor } = event;
  switch (event.__typename) {
    case "TextDelta":
      return { ...message, cursor, status: "STREAMING", parts: withText(message.parts, "TextPart", event) };
    case "ReasoningDelta":
      return {
        ...message,
        cursor,
        status: "STREAMING",
        parts: withText(message.parts, "ReasoningPart", event),
      };
    case "StreamRestarted":
      return { ...message, cursor, parts: message.parts.slice(0, event.part) };
    case "MessageFinished":
      return event.message;
    default: {
      const status = event.toolCall.status === "AWAITING_APPROVAL" ? "AWAITING_APPROVAL" : "STREAMING";
      return { ...message, cursor, status, parts: withPart(message.parts, event.part, event.toolCall) };
    }
  }
}

type Part = Message["parts"][number];
type Delta = { part: number; offset: number; text: string };

function withText(
  parts: Part[],
  __typename: "TextPart" | "ReasoningPart",
  { part, offset, text }: Delta,
): Part[] {
  const known = parts[part];
  const before = known?.__typename === __typename ? known.text : "";
  // Of a delta that comes again the text may be there with more behind it.
  if (before.startsWith(text, offset)) return parts;
  return withPart(parts, part, { __typename, text: before.slice(0, offset) + text });
}

function withPart(parts: Part[], index: number, part: Part): Part[] {
  return Object.assign([...parts], { [index]: part });
}
