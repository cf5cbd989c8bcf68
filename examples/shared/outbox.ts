import { textOf, type Message } from "./messages";

/** A message that the server has not confirmed. */
export interface Unsent {
  /** The same at every attempt: the server stores the message once, however often it comes. */
  key: string;
  /** Null begins a new conversation. */
  conversationId: string | null;
  text: string;
  /** How many messages there were before it. */
  position: number;
  /** Why it could not be sent; null while it is on its way. */
  problem: string | null;
}

/** The input of `sendMessage`. */
export function inputOf({ key, conversationId, text }: Unsent) {
  return { text, conversationId, idempotencyKey: key };
}

/** Those that the conversation does not show yet: its stream may be faster than the answer to the mutation. */
export function missing(unsent: Unsent[], messages: Message[]): Unsent[] {
  return unsent.filter(
    ({ text, position }) =>
      !messages.slice(position).some((message) => message.role === "USER" && textOf(message) === text),
  );
}

/** Pages that do not come by HTTPS or from this machine have no `randomUUID`. */
export function createKey(): string {
  return crypto.randomUUID?.() ?? crypto.getRandomValues(new Uint32Array(4)).join("-");
}
