/** Sending what the user wrote. */
import type { Client } from "./client";
import { messageOf } from "./errors";
import {
  RegenerateMessageDocument,
  SendMessageDocument,
  type SendMessageMutation,
} from "./generated/graphql";
import type { Message, MessageData } from "./message";
import { createKey, type Entry, type Outbox, type Unsent } from "./outbox";

/** A stored message, its conversation, and the reply that has begun. */
export type Sent = SendMessageMutation["sendMessage"];

/** Sends an entry (again) under its own key; gives null where that failed: the entry tells why, and stays. */
export async function transmit(client: Client, outbox: Outbox, entry: Entry): Promise<Sent | null> {
  const conversationId = entry.conversationId.peek();
  const { text, key: idempotencyKey, parentId, model } = entry;
  outbox.mark(entry, null);
  try {
    const input = {
      text,
      idempotencyKey,
      ...(conversationId !== null && { conversationId }),
      ...(conversationId !== null && parentId !== undefined && { parentId }),
      ...(conversationId === null && model !== undefined && { model }),
    };
    return (await client.request(SendMessageDocument, { input })).sendMessage;
  } catch (error) {
    outbox.mark(entry, messageOf(error));
    return null;
  }
}

/** The messages of one conversation on their way, one after the other; `sent` is told of each. */
export class Sender {
  readonly #client: Client;
  readonly #outbox: Outbox;
  readonly #sent: (entry: Entry, sent: Sent) => void;
  readonly #around: (request: () => Promise<void>) => Promise<void>;
  readonly #keys = new Map<string, string>();
  #last: Promise<void> = Promise.resolve();

  /** Each request is made within `around`. */
  constructor(
    client: Client,
    outbox: Outbox,
    sent: (entry: Entry, sent: Sent) => void,
    around: (request: () => Promise<void>) => Promise<void>,
  ) {
    this.#client = client;
    this.#outbox = outbox;
    this.#sent = sent;
    this.#around = around;
  }

  /** Sends an entry once those before it have been sent, or could not be. Never rejects. */
  deliver(entry: Entry): Promise<void> {
    entry.sender.value = this;
    this.#outbox.mark(entry, null);
    this.#last = this.#last.catch(() => {}).then(() => this.#deliver(entry));
    return this.#last;
  }

  /** Sends an entry that failed again, under the same key. */
  async retry({ key }: Unsent): Promise<void> {
    const entry = this.#outbox.find(key);
    if (entry?.state.peek() === "failed") await this.deliver(entry);
  }

  discard({ key }: Unsent): void {
    const entry = this.#outbox.find(key);
    if (entry) this.#outbox.remove(entry);
  }

  /** Stores another version of a message. Rejects with `ServerError`. */
  edit(conversationId: string, message: Message, text: string): Promise<Sent> {
    const { parentId } = message;
    return this.#once(`edit ${message.id} ${text}`, async (idempotencyKey) => {
      const input = { conversationId, parentId, text, idempotencyKey };
      return (await this.#client.request(SendMessageDocument, { input })).sendMessage;
    });
  }

  /** Asks for another version of a reply. Rejects with `ServerError`. */
  regenerate(message: Message): Promise<MessageData> {
    return this.#once(`regenerate ${message.id}`, async (idempotencyKey) => {
      const input = { messageId: message.id, idempotencyKey };
      return (await this.#client.request(RegenerateMessageDocument, { input })).regenerateMessage.reply;
    });
  }

  async #deliver(entry: Entry): Promise<void> {
    if (!this.#outbox.find(entry.key)) return;
    await this.#around(async () => {
      const sent = await transmit(this.#client, this.#outbox, entry);
      if (sent) this.#sent(entry, sent);
    });
  }

  /** One key for one wish, however often it is tried until it is granted. */
  async #once<Answer>(wish: string, request: (key: string) => Promise<Answer>): Promise<Answer> {
    const key = this.#keys.get(wish) ?? createKey();
    this.#keys.set(wish, key);
    const answer = await request(key);
    this.#keys.delete(wish);
    return answer;
  }
}
