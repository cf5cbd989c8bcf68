/** The chat behind an element, from its first use until the element goes: what it remembers and what it tells. */
import { effect, untracked } from "@preact/signals";
import { Chat, type ChatEvent, type TokenSource } from "../chat/data/chat";
import { subjectOf } from "../chat/data/tokens";
import { findStorage, type Memory } from "./memory";

export interface SessionOptions {
  readonly endpoint: URL;
  readonly token: TokenSource;
  readonly memory: Memory;
  /** What to open; undefined: what was open last. */
  readonly conversation: string | null | undefined;
  onMessage(message: MessageDetail): void;
  onError(error: ErrorDetail): void;
}

/** A message that was sent, or a reply that has ended. */
export interface MessageDetail {
  readonly id: string;
  readonly role: "USER" | "ASSISTANT";
  /** The Markdown source. */
  readonly text: string;
  readonly conversationId: string | null;
}

/** `code` as in the API; `NOT_SENT`: a message did not reach the server. */
export interface ErrorDetail {
  readonly code: string;
  readonly message: string;
  readonly conversationId: string | null;
}

export class Session {
  readonly chat: Chat;
  readonly #options: SessionOptions;
  readonly #endings: (() => void)[];
  #owner: string;
  /** The conversation that was opened from memory, until it is there. */
  #remembered: string | null = null;

  constructor(options: SessionOptions) {
    this.#options = options;
    const { memory, endpoint, conversation } = options;
    this.#owner = memory.kept?.owner ?? "";
    if (conversation === undefined) this.#remembered = memory.kept?.conversation ?? null;
    this.chat = new Chat({ endpoint, token: () => this.#readToken(), storage: findStorage() });
    this.chat.open(conversation ?? this.#remembered);
    this.#endings = [
      this.chat.on((event) => this.#hear(event)),
      effect(() => this.#watchRemembered()),
      effect(() => this.#watchAccess()),
      this.#watchUnsent(),
    ];
  }

  close(): void {
    for (const end of this.#endings) end();
    this.chat.close();
  }

  async #readToken(): Promise<string | null> {
    const token = await this.#options.token();
    if (token) this.#identify(subjectOf(token));
    return token;
  }

  /** What somebody else had open is not opened. */
  #identify(owner: string): void {
    const isAnother = owner !== this.#owner;
    this.#owner = owner;
    if (isAnother && this.#remembered !== null) this.chat.open(null);
  }

  #hear(event: ChatEvent): void {
    if (event.type === "opened") {
      this.#options.memory.kept = { owner: this.#owner, conversation: event.id };
      return;
    }
    const { message, conversationId } = event;
    const { id, role } = message;
    this.#options.onMessage({ id, role, text: message.readText(), conversationId });
    const error = message.error.peek();
    if (error) this.#options.onError({ code: error.code, message: error.message, conversationId });
  }

  /** A remembered conversation may have been deleted since: then a new one begins, without a word. */
  #watchRemembered(): void {
    const thread = this.chat.thread.value;
    const state = thread.state.value;
    if (this.#remembered === null) return;
    if (state === "gone") untracked(() => this.chat.open(null));
    if (state !== "loading" && state !== "failed") this.#remembered = null;
  }

  #watchAccess(): void {
    if (this.chat.access.value === "granted") return;
    const conversationId = this.chat.thread.peek().id.peek();
    const message = "There is no token, or the server refused it.";
    untracked(() => this.#options.onError({ code: "UNAUTHENTICATED", message, conversationId }));
  }

  /** Tells of each failure of each message once. */
  #watchUnsent(): () => void {
    let known = new Set<string>();
    return effect(() => {
      const thread = this.chat.thread.value;
      const failed = thread.unsent.value.filter((entry) => entry.state.value === "failed");
      const fresh = failed.filter(({ key }) => !known.has(key));
      known = new Set(failed.map(({ key }) => key));
      untracked(() => {
        for (const { problem } of fresh) {
          const conversationId = thread.id.peek();
          this.#options.onError({ code: "NOT_SENT", message: problem.peek() ?? "", conversationId });
        }
      });
    });
  }
}
