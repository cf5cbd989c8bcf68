import {
  ConversationEventsDocument,
  type ConversationEventsSubscription,
  ThreadDocument,
} from "../../generated/strings/graphql";
import type { Message } from "../../shared/messages";
import { ask, subscribe } from "./client";
import { followReply } from "./reply";

type Event = ConversationEventsSubscription["conversationStream"];

/** An open conversation: its messages as they are now, oldest first. */
export class Conversation {
  #messages = new Map<string, Message>();
  #endings: (() => void)[] = [];
  #closed = false;

  constructor(
    readonly id: string,
    readonly onMessage: (message: Message) => void,
    readonly onTitle: (title: string | null) => void,
  ) {}

  get messages(): Message[] {
    return [...this.#messages.values()];
  }

  async load(): Promise<void> {
    const { conversation } = await ask(ThreadDocument, { id: this.id });
    if (this.#closed) return;
    if (conversation === null) throw new Error("There is no such conversation.");
    for (const { node } of conversation.messages.edges) this.add(node);
    this.follow(conversation.cursor);
  }

  /** Takes what others, and other tabs, do to it after `cursor`. */
  follow(cursor: string): void {
    const variables = { id: this.id, after: cursor };
    const take = (data: ConversationEventsSubscription) => this.#take(data.conversationStream);
    this.#endings.push(subscribe(ConversationEventsDocument, variables, take, console.error));
  }

  /** Shows a message, unless it is there already, and follows it while it is written. */
  add(message: Message): void {
    if (this.#messages.has(message.id)) return;
    this.#put(message);
    this.#endings.push(followReply(message, (changed) => this.#put(changed)));
  }

  close(): void {
    this.#closed = true;
    for (const end of this.#endings) end();
  }

  #take(event: Event): void {
    if (event.__typename === "MessageAdded") this.add(event.message);
    if (event.__typename === "ConversationChanged") this.onTitle(event.conversation.title);
  }

  #put(message: Message): void {
    this.#messages.set(message.id, message);
    this.onMessage(message);
  }
}
