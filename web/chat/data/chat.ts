/** All that page and widget know of the server: the open conversation, the lists, and the connection. */
import { signal, type ReadonlySignal, type Signal } from "@preact/signals";
import { Client } from "./client";
import { ConversationList } from "./conversations";
import { ModelsDocument, type ModelsQuery } from "./generated/graphql";
import type { Message } from "./message";
import { Outbox, type Entry } from "./outbox";
import { transmit } from "./sender";
import { Socket, type Connection } from "./socket";
import { Store } from "./store";
import { isTaskTool, TaskList } from "./tasks";
import { Thread, type Surroundings, type ThreadEvent } from "./thread";
import { Tokens, type Access, type TokenSource } from "./tokens";
import { onWake } from "./wake";

export type { TokenSource } from "./tokens";

export interface ChatOptions {
  readonly endpoint: URL;
  readonly token: TokenSource;
  readonly storage: Storage | null;
}

/** Who may write the replies. */
export type Model = ModelsQuery["models"][number];

export type ChatEvent =
  | { readonly type: "sent" | "finished"; readonly message: Message; readonly conversationId: string | null }
  | { readonly type: "opened"; readonly id: string | null };

export class Chat {
  readonly connection: ReadonlySignal<Connection>;
  readonly access: ReadonlySignal<Access>;
  readonly conversations: ConversationList;
  readonly tasks: TaskList;
  readonly #options: ChatOptions;
  readonly #tokens: Tokens;
  readonly #around: Surroundings;
  readonly #store = signal<Store | null>(null);
  readonly #thread: Signal<Thread>;
  readonly #models = signal<readonly Model[]>([], {
    watched: () => queueMicrotask(() => void this.#readModels()),
  });
  readonly #listeners = new Set<(event: ChatEvent) => void>();
  readonly #removers: (() => void)[];
  #channel: BroadcastChannel | null = null;
  #owner: string | null = null;

  constructor(options: ChatOptions) {
    this.#options = options;
    this.#tokens = new Tokens(options.token);
    const client = new Client(options.endpoint, this.#tokens);
    const socket = new Socket(options.endpoint, this.#tokens);
    this.#around = { client, socket, outbox: new Outbox(), store: this.#store };
    this.connection = socket.connection;
    this.access = this.#tokens.access;
    this.conversations = new ConversationList(client, () => this.#broadcast("conversations"));
    this.tasks = new TaskList(client, () => this.#broadcast("tasks"));
    this.#thread = signal(this.#create(null));
    this.#removers = [
      onWake(() => this.#wake()),
      this.connection.subscribe((connection) => {
        if (connection === "connected") this.#look();
      }),
      this.#tokens.owner.subscribe((owner) => {
        if (owner !== null) this.#identify(owner);
      }),
    ];
    void this.#tokens.current();
  }

  /** The open one. */
  get thread(): ReadonlySignal<Thread> {
    return this.#thread;
  }

  get models(): ReadonlySignal<readonly Model[]> {
    return this.#models;
  }

  /** Opens a conversation, unless it is open already; null: one that is yet to begin. */
  open(id: string | null): void {
    const open = this.#thread.peek();
    if (open.id.peek() === id && !open.isOver) return;
    this.#show(id);
  }

  /**
   * Asks the token source again and, if what it gives is let in, goes on everywhere. Rejects with
   * `ServerError` where the server cannot be reached.
   */
  renewToken(): Promise<boolean> {
    return this.#around.client.renewToken();
  }

  /** Calls back with what happens; gives the function that ends it. */
  on(listener: (event: ChatEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    for (const remove of this.#removers) remove();
    this.#listeners.clear();
    this.#thread.peek().close();
    this.conversations.close();
    this.tasks.close();
    this.#around.outbox.close();
    this.#around.client.close();
    this.#around.socket.close();
    this.#channel?.close();
    this.#channel = null;
  }

  #show(id: string | null): void {
    this.#thread.peek().close();
    const thread = this.#create(id);
    this.#thread.value = thread;
    void thread.load();
    this.#tell({ type: "opened", id });
  }

  #create(id: string | null): Thread {
    const thread: Thread = new Thread(this.#around, id, (event) => this.#hear(thread, event));
    return thread;
  }

  #hear(thread: Thread, event: ThreadEvent): void {
    switch (event.type) {
      case "begun":
        if (thread === this.#thread.peek()) this.#tell({ type: "opened", id: event.id });
        break;
      case "toolFinished":
        if (isTaskTool(event.tool)) this.#refresh("tasks");
        break;
      case "changed":
        this.#refresh("conversations");
        break;
      default:
        this.#refresh("conversations");
        this.#tell({ ...event, conversationId: thread.id.peek() });
    }
  }

  /** Another user than before sees nothing of theirs. */
  #identify(owner: string): void {
    if (owner === this.#owner) return;
    const isAnother = this.#owner !== null;
    this.#owner = owner;
    const scope = `${this.#options.endpoint.href} ${owner}`;
    const store = new Store(this.#options.storage, scope);
    this.#channel?.close();
    this.#channel = this.#listen(scope);
    if (isAnother) {
      this.#around.outbox.close();
      this.#store.value = null;
      this.#show(null);
      this.#around.socket.drop();
      this.conversations.reset();
      this.tasks.reset();
    }
    this.#store.value = store;
    for (const entry of this.#around.outbox.open(store)) {
      const thread = this.#thread.peek();
      if (thread.id.peek() === entry.conversationId.peek()) void thread.deliver(entry);
      else void this.#deliver(entry);
    }
  }

  /** Sends what was on its way in a conversation that is not open. */
  async #deliver(entry: Entry): Promise<void> {
    if (!(await transmit(this.#around.client, this.#around.outbox, entry))) return;
    this.#around.outbox.remove(entry);
    this.#refresh("conversations");
  }

  #listen(scope: string): BroadcastChannel | null {
    if (typeof BroadcastChannel === "undefined") return null;
    const channel = new BroadcastChannel(`loquent ${scope}`);
    channel.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (data === "conversations" || data === "tasks") this[data].refreshSoon();
    };
    return channel;
  }

  #refresh(list: "conversations" | "tasks"): void {
    this[list].refreshSoon();
    this.#broadcast(list);
  }

  #broadcast(list: "conversations" | "tasks"): void {
    this.#channel?.postMessage(list);
  }

  /** The page is seen again, or the network is back. */
  #wake(): void {
    if (this.access.peek() === "refused") this.renewToken().catch(() => {});
    this.#look();
  }

  /** Looks whether anything has happened meanwhile. */
  #look(): void {
    this.conversations.refreshSoon();
    this.tasks.refreshSoon();
    const thread = this.#thread.peek();
    if (thread.state.peek() === "failed") void thread.load();
  }

  async #readModels(): Promise<void> {
    if (this.#models.peek().length > 0) return;
    try {
      this.#models.value = (await this.#around.client.request(ModelsDocument, {})).models;
    } catch {
      // Without a list there is no choice; the next who looks asks again.
    }
  }

  #tell(event: ChatEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }
}
