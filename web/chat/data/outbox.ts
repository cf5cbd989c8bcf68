/** What the user sent and the server has not confirmed: kept under its key, so that it is stored once. */
import { computed, signal, type ReadonlySignal, type Signal } from "@preact/signals";
import type { Store } from "./store";

/** After a reload, what was sent so shortly before is sent again by itself; it may have arrived already. */
const STILL_MEANT_MS = 120_000;
const NOT_SENT = "It was not sent yet.";

/** A message on its way, or one that could not be sent. */
export interface Unsent {
  readonly key: string;
  readonly text: string;
  readonly state: ReadonlySignal<"sending" | "failed">;
  readonly problem: ReadonlySignal<string | null>;
}

/** An entry as it is kept; `parentId` is missing where it follows the newest message. */
interface Kept {
  readonly conversationId: string | null;
  readonly parentId?: string;
  readonly model?: string;
  readonly text: string;
  readonly at: number;
  readonly problem: string | null;
}

export class Entry implements Unsent {
  readonly key: string;
  readonly text: string;
  readonly at: number;
  readonly parentId: string | undefined;
  readonly model: string | undefined;
  readonly conversationId: Signal<string | null>;
  /** Who is sending it, or has tried to. */
  readonly sender: Signal<object | null> = signal(null);
  readonly state: ReadonlySignal<"sending" | "failed">;
  readonly problem: Signal<string | null>;

  constructor(key: string, kept: Kept) {
    this.key = key;
    this.text = kept.text;
    this.at = kept.at;
    this.parentId = kept.parentId;
    this.model = kept.model;
    this.conversationId = signal(kept.conversationId);
    this.problem = signal(kept.problem);
    this.state = computed(() => (this.problem.value === null ? "sending" : "failed"));
  }

  toJSON(): Kept {
    return {
      conversationId: this.conversationId.peek(),
      ...(this.parentId !== undefined && { parentId: this.parentId }),
      ...(this.model !== undefined && { model: this.model }),
      text: this.text,
      at: this.at,
      problem: this.problem.peek(),
    };
  }
}

/** What an entry is made of; without `parentId` it follows the newest message. */
export interface Outgoing {
  readonly conversationId: string | null;
  readonly text: string;
  readonly parentId?: string | undefined;
  readonly model?: string | undefined;
}

export class Outbox {
  readonly #entries = signal<readonly Entry[]>([]);
  #store: Store | null = null;
  #stopListening = () => {};

  /**
   * The entries of one conversation, oldest first. Null: of one that is about to begin; what another sends is not
   * among them, unless it failed.
   */
  of(conversationId: string | null, sender: object): readonly Entry[] {
    return this.#entries.value
      .filter((entry) => entry.conversationId.value === conversationId)
      .filter(
        (entry) => conversationId !== null || entry.problem.value !== null || entry.sender.value === sender,
      );
  }

  find(key: string): Entry | undefined {
    return this.#entries.peek().find((entry) => entry.key === key);
  }

  /**
   * Reads what is kept, and keeps all from now on; gives the entries that were under way when the page was left,
   * to be sent again.
   */
  open(store: Store, now: number = Date.now()): Entry[] {
    this.#stopListening();
    const known = new Set(this.#entries.peek().map(({ key }) => key));
    const found = store
      .names("unsent ")
      .map((name) => read(name.slice("unsent ".length), store.get(name)))
      .filter((entry) => entry !== null)
      .filter((entry) => !known.has(entry.key));
    const [meant, stale] = partition(
      found,
      (entry) => entry.problem.peek() === null && now - entry.at < STILL_MEANT_MS,
    );
    for (const entry of stale) entry.problem.value ??= NOT_SENT;
    this.#store = store;
    this.#entries.value = [...found, ...this.#entries.peek()].sort((a, b) => a.at - b.at);
    for (const entry of this.#entries.peek()) this.#keep(entry);
    this.#stopListening = store.onElsewhere((name) => {
      if (name.startsWith("unsent ") && store.get(name) === null) this.#forget(name.slice("unsent ".length));
    });
    return meant;
  }

  add(outgoing: Outgoing): Entry {
    const entry = new Entry(createKey(), { ...strip(outgoing), at: Date.now(), problem: null });
    this.#entries.value = [...this.#entries.peek(), entry];
    this.#keep(entry);
    return entry;
  }

  /** It is on its way (null), or was not sent, and why. */
  mark(entry: Entry, problem: string | null): void {
    entry.problem.value = problem;
    this.#keep(entry);
  }

  /** The conversation that it was to begin has begun. */
  moveTo(entry: Entry, conversationId: string): void {
    entry.conversationId.value = conversationId;
    this.#keep(entry);
  }

  /** It has arrived, or is not wanted any more. */
  remove(entry: Entry): void {
    this.#store?.set(`unsent ${entry.key}`, null);
    this.#forget(entry.key);
  }

  /** Forgets all that is in memory, and nothing that is kept: another user comes. */
  close(): void {
    this.#stopListening();
    this.#store = null;
    this.#entries.value = [];
  }

  #forget(key: string): void {
    this.#entries.value = this.#entries.peek().filter((entry) => entry.key !== key);
  }

  #keep(entry: Entry): void {
    if (this.#entries.peek().includes(entry)) this.#store?.set(`unsent ${entry.key}`, JSON.stringify(entry));
  }
}

/** A key that nobody else makes; pages that are not served by HTTPS have no `randomUUID`. */
export function createKey(): string {
  return crypto.randomUUID?.() ?? crypto.getRandomValues(new Uint32Array(4)).join("-");
}

function read(key: string, json: string | null): Entry | null {
  try {
    const kept = JSON.parse(json ?? "null") as Partial<Kept> | null;
    if (typeof kept?.text !== "string") return null;
    const { conversationId = null, parentId, model, text, at = 0, problem = null } = kept;
    return new Entry(key, { ...strip({ conversationId, parentId, model, text }), at, problem });
  } catch {
    return null;
  }
}

function strip({ conversationId, text, parentId, model }: Outgoing): Omit<Kept, "at" | "problem"> {
  return {
    conversationId,
    text,
    ...(parentId !== undefined && { parentId }),
    ...(model !== undefined && { model }),
  };
}

function partition<Item>(items: readonly Item[], test: (item: Item) => boolean): [Item[], Item[]] {
  return [items.filter(test), items.filter((item) => !test(item))];
}
