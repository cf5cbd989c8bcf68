/** One conversation as it is shown: a branch of its messages, what is on its way, and what keeps it current. */
import { batch, computed, signal, type ReadonlySignal, type Signal } from "@preact/signals";
import { backoff } from "./backoff";
import { rateReply, resolveToolCall, stopReply } from "./actions";
import { Branch } from "./branch";
import { Draft } from "./drafts";
import { messageOf, ServerError } from "./errors";
import { Feed, type ConversationEvent } from "./feed";
import {
  ConversationDocument,
  type ConversationQuery,
  type HeadFragment,
  type Rating,
} from "./generated/graphql";
import { Head } from "./head";
import type { Message, StreamEvent } from "./message";
import type { Entry, Outbox, Unsent } from "./outbox";
import type { Server } from "./reply";
import { Sender, type Sent } from "./sender";
import type { Store } from "./store";

const RELOAD_AFTER_MS = 2_000;
const UNKNOWN = "This conversation does not exist, or is not yours.";

export type { Unsent } from "./outbox";

export type ThreadState = "new" | "loading" | "ready" | "failed" | "gone";

/** What a thread tells of itself; `changed`: the list of conversations shows it differently now. */
export type ThreadEvent =
  | { readonly type: "sent" | "finished"; readonly message: Message }
  | { readonly type: "begun"; readonly id: string }
  | { readonly type: "toolFinished"; readonly tool: string }
  | { readonly type: "changed" };

/** What threads have in common. */
export interface Surroundings extends Server {
  readonly outbox: Outbox;
  /** Null until it is known whose drafts these are. */
  readonly store: Signal<Store | null>;
}

/** The branch that ends in `leaf` (null: the newest), or the one `through` a message. */
type Wanted = { leaf?: string | null; through?: string };
type Page = NonNullable<ConversationQuery["conversation"]>["messages"];

export class Thread {
  readonly draft: Signal<string>;
  /** The reply that is being written. */
  readonly running: ReadonlySignal<Message | null>;
  /** The branch shown, oldest first. */
  readonly messages: ReadonlySignal<readonly Message[]>;
  readonly state: ReadonlySignal<ThreadState>;
  readonly id: ReadonlySignal<string | null>;
  readonly title: ReadonlySignal<string | null>;
  readonly archivedAt: ReadonlySignal<string | null>;
  readonly model: ReadonlySignal<string | null>;
  readonly unsent: ReadonlySignal<readonly Unsent[]>;
  readonly hasEarlier: ReadonlySignal<boolean>;
  readonly #around: Surroundings;
  readonly #tell: (event: ThreadEvent) => void;
  readonly #draft: Draft;
  readonly #branch: Branch;
  readonly #sender: Sender;
  readonly #head = new Head();
  readonly #id: Signal<string | null>;
  readonly #state: Signal<ThreadState>;
  readonly #problem = signal<string | null>(null);
  /** Why it could not be loaded. */
  readonly problem: ReadonlySignal<string | null> = this.#problem;
  readonly #earlier = signal<string | null>(null);
  #feed: Feed | null = null;
  #isLoadingEarlier = false;
  #reading = 0;
  #reload: ReturnType<typeof setTimeout> | undefined;
  /** How often it could not be read again, since it last could. */
  #failures = 0;
  #isClosed = false;

  /** `id`: null for a conversation that its first message will begin. */
  constructor(around: Surroundings, id: string | null, tell: (event: ThreadEvent) => void) {
    this.#around = around;
    this.#tell = tell;
    this.#id = signal(id);
    this.#state = signal<ThreadState>(id === null ? "new" : "loading");
    this.#draft = new Draft(id, around.store);
    this.#branch = new Branch(around, {
      heard: (event) => this.#hearReply(event),
      finished: (message) => tell({ type: "finished", message }),
    });
    const held = (request: () => Promise<void>) => this.#held(request);
    this.#sender = new Sender(
      around.client,
      around.outbox,
      (entry, sent) => this.#takeSent(sent, entry),
      held,
    );
    ({ title: this.title, archivedAt: this.archivedAt, model: this.model } = this.#head);
    this.id = this.#id;
    this.state = this.#state;
    this.messages = this.#branch.messages;
    this.running = this.#branch.running;
    this.draft = this.#draft.text;
    this.unsent = computed(() => around.outbox.of(this.#id.value, this.#sender));
    this.hasEarlier = computed(() => this.#earlier.value !== null);
  }

  /** Whether nothing can be done with it any more but to load it again. */
  get isOver(): boolean {
    return (
      ["failed", "gone"].includes(this.#state.peek()) ||
      (this.#id.peek() === null && this.unsent.peek().length > 0)
    );
  }

  /** Reads the newest messages and follows what goes on from exactly that state; never rejects. */
  async load(): Promise<void> {
    if (this.#id.peek() !== null) await this.#load(this.#branch.pinned);
  }

  /** Puts one page of older messages above those shown. Rejects with `ServerError`. */
  async loadEarlier(): Promise<void> {
    const before = this.#earlier.peek();
    const shown = this.messages.peek();
    const leaf = this.#branch.last?.id ?? null;
    if (before === null || leaf === null || this.#isLoadingEarlier) return;
    this.#isLoadingEarlier = true;
    try {
      const { conversation } = await this.#ask({ leaf, before });
      if (!conversation || this.messages.peek()[0] !== shown[0]) return;
      batch(() => {
        this.#branch.show([...this.#take(conversation.messages), ...this.messages.peek()]);
        this.#earlier.value = earlierOf(conversation.messages);
      });
    } finally {
      this.#isLoadingEarlier = false;
    }
  }

  /** Sends a message; should that fail, it stays among the unsent and says why. Never rejects. */
  async send(text: string): Promise<void> {
    const words = text.trim();
    if (words === "") return;
    const conversationId = this.#id.peek();
    const parentId = this.#branch.pinned ?? undefined;
    const model = this.model.peek() ?? undefined;
    const entry = this.#around.outbox.add({ conversationId, text: words, parentId, model });
    if (this.draft.peek().trim() === words) this.draft.value = "";
    await this.deliver(entry);
  }

  /** Sends an unsent message again under the same key. Never rejects. */
  retry(entry: Unsent): Promise<void> {
    return this.#sender.retry(entry);
  }

  discard(entry: Unsent): void {
    this.#sender.discard(entry);
  }

  /** Sends an entry that was on its way when the page was left. Never rejects. */
  deliver(entry: Entry): Promise<void> {
    return this.#sender.deliver(entry);
  }

  /** Writes a message of the user anew, as another version of it. Rejects with `ServerError`. */
  async edit(message: Message, text: string): Promise<void> {
    const id = this.#id.peek();
    if (id === null) return;
    await this.#held(async () => this.#takeSent(await this.#sender.edit(id, message, text.trim())));
  }

  /** Asks for one more reply to the same question. Rejects with `ServerError`. */
  async regenerate(message: Message): Promise<void> {
    await this.#held(async () => {
      const reply = this.#branch.know(await this.#sender.regenerate(message));
      this.#branch.newest = reply.id;
      if (!this.#isClosed && !this.#branch.place(reply)) await this.#load(reply.id);
    });
    this.#tell({ type: "changed" });
  }

  /** Stops the running reply, at once here, then on the server: its text stays. Rejects with `ServerError`. */
  async stop(): Promise<void> {
    const message = this.running.peek();
    if (message) this.#branch.takeEnd(message, await stopReply(this.#around.client, message));
  }

  /** Answers a tool call that waits for approval. Rejects with `ServerError`. */
  resolve(message: Message, toolCallId: string, approve: boolean, note?: string): Promise<void> {
    return resolveToolCall(this.#around.client, message, toolCallId, approve, note);
  }

  /** Says how good a reply is; null takes it back. Rejects with `ServerError`. */
  rate(message: Message, rating: Rating | null): Promise<void> {
    return rateReply(this.#around.client, message, rating);
  }

  /** Chooses who writes the replies from now on. Rejects with `ServerError`. */
  setModel(name: string): Promise<void> {
    return this.#head.choose(this.#around.client, this.#id.peek(), name);
  }

  /** Shows another version of a message, and what came of it. Rejects with `ServerError`. */
  async showVersion(message: Message, id: string): Promise<void> {
    if (id !== message.id) await this.#read({ through: id });
  }

  /** Follows nothing any more; what is being sent still arrives. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#reload);
    this.#feed?.close();
    this.#branch.close();
    this.#draft.close();
  }

  /** Lets the feed wait for the answer to a request, which may bring the same. */
  async #held(request: () => Promise<void>): Promise<void> {
    const feed = this.#feed;
    feed?.hold();
    try {
      await request();
    } finally {
      feed?.release();
    }
  }

  #takeSent(sent: Sent, entry?: Entry): void {
    const { conversation } = sent;
    const message = this.#branch.know(sent.message, entry?.key);
    const reply = this.#branch.know(sent.reply);
    this.#branch.newest = reply.id;
    batch(() => {
      if (entry) this.#around.outbox.remove(entry);
      if (this.#id.peek() === null) this.#begin(conversation);
      if (!this.#isClosed && !(this.#place(message) && this.#branch.place(reply))) void this.#load(reply.id);
    });
    this.#tell({ type: "sent", message });
  }

  #begin(conversation: HeadFragment): void {
    const before = this.#around.outbox.of(null, this.#sender);
    this.#id.value = conversation.id;
    for (const entry of before) this.#around.outbox.moveTo(entry, conversation.id);
    this.#state.value = "ready";
    this.#draft.moveTo(conversation.id);
    this.#head.take(conversation);
    this.#tell({ type: "begun", id: conversation.id });
    if (!this.#isClosed) this.#listen(conversation);
  }

  async #load(leaf: string | null): Promise<void> {
    this.#problem.value = null;
    if (this.#state.peek() !== "ready") this.#state.value = "loading";
    try {
      await this.#read({ leaf });
    } catch (error) {
      this.#fail(error, leaf);
    }
  }

  /** Reads a branch, and shows it unless another has been asked for meanwhile. */
  async #read(wanted: Wanted): Promise<void> {
    const reading = ++this.#reading;
    const { conversation } = await this.#ask(wanted);
    if (this.#isClosed || reading !== this.#reading) return;
    if (!conversation) throw new ServerError(UNKNOWN, "FORBIDDEN");
    this.#failures = 0;
    batch(() => {
      const messages = this.#take(conversation.messages);
      if (wanted.leaf === null) this.#branch.newest = messages.at(-1)?.id ?? null;
      this.#head.take(conversation);
      this.#branch.show(messages);
      this.#earlier.value = earlierOf(conversation.messages);
      this.#state.value = "ready";
      this.#problem.value = null;
    });
    this.#listen(conversation);
  }

  #ask(more: Wanted & { before?: string }): Promise<ConversationQuery> {
    return this.#around.client.request(ConversationDocument, { id: this.#id.peek() ?? "", ...more });
  }

  #fail(error: unknown, leaf: string | null = null): void {
    if (this.#isClosed) return;
    const code = error instanceof ServerError ? error.code : null;
    if (code === "FORBIDDEN" || code === "BAD_USER_INPUT") {
      this.#feed?.close();
      this.#state.value = "gone";
      this.#problem.value = UNKNOWN;
    } else if (this.#state.peek() === "ready") {
      clearTimeout(this.#reload);
      this.#reload = setTimeout(() => void this.#load(leaf), backoff(this.#failures++, RELOAD_AFTER_MS));
    } else {
      this.#state.value = "failed";
      this.#problem.value = messageOf(error);
    }
  }

  #listen({ id, cursor }: HeadFragment): void {
    this.#feed?.close();
    this.#feed = new Feed(this.#around.socket, id, cursor, {
      heard: (event) => batch(() => this.#hear(event)),
      lost: (reason) =>
        reason === "cursor" ? void this.load() : this.#fail(new ServerError(UNKNOWN, "FORBIDDEN")),
    });
  }

  #hear(event: ConversationEvent): void {
    switch (event.__typename) {
      case "MessageAdded":
        this.#hearAdded(this.#branch.know(event.message));
        break;
      case "MessageChanged":
        if (this.#branch.isKnown(event.message.id)) this.#branch.know(event.message);
        break;
      case "ConversationChanged":
        this.#head.take(event.conversation);
        this.#tell({ type: "changed" });
        break;
      case "ConversationDeleted":
        this.#fail(new ServerError(UNKNOWN, "FORBIDDEN"));
        this.#tell({ type: "changed" });
    }
  }

  /** Who looks at an older branch stays there: the versions tell that there is another. */
  #hearAdded(message: Message): void {
    if (this.messages.peek().includes(message)) return;
    const isNext = message.parentId === (this.#branch.last?.id ?? null);
    const isElsewhere = this.#branch.pinned !== null && !isNext;
    this.#branch.newest = message.id;
    if (isElsewhere) return;
    if (!this.#place(message)) void this.#load(null);
    this.#tell({ type: "changed" });
  }

  #hearReply(event: StreamEvent): void {
    if (event.__typename === "ToolCallFinished")
      this.#tell({ type: "toolFinished", tool: event.toolCall.tool });
  }

  #take(page: Page): Message[] {
    return page.edges.map(({ node }) => this.#branch.know(node));
  }

  #place(message: Message): boolean {
    if (message.parentId === null) this.#earlier.value = null;
    return this.#branch.place(message);
  }
}

function earlierOf({ pageInfo }: Page): string | null {
  return pageInfo.hasPreviousPage ? pageInfo.startCursor : null;
}
