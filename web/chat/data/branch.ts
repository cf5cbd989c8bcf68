/** The branch of a conversation that is shown, and the replies on it that are being written. */
import { computed, signal, type ReadonlySignal } from "@preact/signals";
import { isFinished, Message, type MessageData, type StreamEvent } from "./message";
import { ReplyReader, type Server } from "./reply";
import { placeBehindParent } from "./tree";

/** Who hears of the replies: each event once it is applied, and the end. */
export interface BranchSink {
  heard(event: StreamEvent): void;
  finished(message: Message): void;
}

export class Branch {
  readonly running: ReadonlySignal<Message | null>;
  /** The conversation's newest message, on whatever branch. */
  newest: string | null = null;
  readonly #server: Server;
  readonly #sink: BranchSink;
  readonly #messages = signal<readonly Message[]>([]);
  /** Every message seen: each is one object for good. */
  readonly #known = new Map<string, Message>();
  readonly #readers = new Map<Message, ReplyReader>();
  #isClosed = false;

  constructor(server: Server, sink: BranchSink) {
    this.#server = server;
    this.#sink = sink;
    this.running = computed(
      () => this.#messages.value.findLast((message) => message.isRunning.value) ?? null,
    );
  }

  /** Oldest first. */
  get messages(): ReadonlySignal<readonly Message[]> {
    return this.#messages;
  }

  get last(): Message | null {
    return this.#messages.peek().at(-1) ?? null;
  }

  /** The end of what is shown, if that is not the newest branch. */
  get pinned(): string | null {
    const last = this.last?.id ?? null;
    return last === this.newest ? null : last;
  }

  /** The message that the server tells of; one that is followed hears of itself by its own stream alone. */
  know(data: MessageData, key?: string): Message {
    let message = this.#known.get(data.id);
    if (!message) {
      message = new Message(data, key);
      this.#known.set(data.id, message);
    } else if (!this.#readers.has(message) && !isOld(message, data)) message.take(data);
    const versions = data.versions.map(({ id }) => id);
    for (const id of versions) this.#known.get(id)?.takeVersions(versions);
    return message;
  }

  isKnown(id: string): boolean {
    return this.#known.has(id);
  }

  /** Puts a message behind its parent, in the place of what stood there; false where that is not shown. */
  place(message: Message): boolean {
    if (this.#messages.peek().includes(message)) return true;
    const branch = placeBehindParent(this.#messages.peek(), message);
    if (branch) this.show(branch);
    return branch !== null;
  }

  /** Shows these messages, and follows those of them that are being written. */
  show(messages: readonly Message[]): void {
    for (const message of this.#readers.keys()) {
      if (!messages.includes(message)) this.#unfollow(message);
    }
    for (const message of messages) {
      if (!isFinished(message.status.peek()) && !this.#readers.has(message)) this.#follow(message);
    }
    this.#messages.value = messages;
  }

  /** Takes what the server says of a reply that it has ended, before its stream does. */
  takeEnd(message: Message, data: MessageData): void {
    if (!isFinished(data.status) || !this.#readers.has(message)) return;
    message.take(data);
    this.#finish(message);
  }

  close(): void {
    this.#isClosed = true;
    for (const message of this.#readers.keys()) this.#unfollow(message);
  }

  #follow(message: Message): void {
    if (this.#isClosed) return;
    const heard = (event: StreamEvent | null) => {
      if (event) this.#sink.heard(event);
      if (isFinished(message.status.peek())) this.#finish(message);
    };
    this.#readers.set(message, new ReplyReader(this.#server, message, heard));
  }

  #unfollow(message: Message): void {
    this.#readers.get(message)?.close();
    this.#readers.delete(message);
  }

  #finish(message: Message): void {
    this.#unfollow(message);
    this.#sink.finished(message);
  }
}

/** What was asked before a reply ended, and is answered after. */
function isOld(message: Message, data: MessageData): boolean {
  return isFinished(message.status.peek()) && !isFinished(data.status);
}
