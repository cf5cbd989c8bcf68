/** What the lists have in common: when they are read, and how they show a change before the server has it. */
import { batch, signal, type ReadonlySignal } from "@preact/signals";
import type { Client } from "./client";
import { messageOf } from "./errors";

const TOGETHER_MS = 50;

export type ListState = "new" | "loading" | "ready" | "failed";

type Change<Item> = (items: readonly Item[]) => readonly Item[];

export abstract class List<Item> {
  protected readonly client: Client;
  protected readonly changed: () => void;
  protected readonly shown = signal<readonly Item[]>([], { watched: () => this.#begin() });
  /** Read when somebody first looks at it. */
  readonly items: ReadonlySignal<readonly Item[]> = this.shown;
  readonly #state = signal<ListState>("new");
  readonly state: ReadonlySignal<ListState> = this.#state;
  readonly #problem = signal<string | null>(null);
  /** Why it could not be read. */
  readonly problem: ReadonlySignal<string | null> = this.#problem;
  /** Counts what has changed the list, so that an answer can tell whether it is still asked for. */
  protected version = 0;
  /** The changes that the server has not confirmed yet. */
  readonly #changes = new Set<Change<Item>>();
  readonly #refused = new WeakSet<Change<Item>>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `changed` is called when this list has changed something, for the other tabs. */
  constructor(client: Client, changed: () => void) {
    this.client = client;
    this.changed = changed;
  }

  /** Reads what is shown again. Never rejects: the state tells. */
  abstract refresh(): Promise<void>;

  /** Reads it from its beginning. Never rejects. */
  protected abstract readAnew(): Promise<void>;

  /** Soon, and once for several calls; not before anybody has looked at it. */
  refreshSoon(): void {
    if (this.#state.peek() === "new") return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.refresh(), TOGETHER_MS);
  }

  /** Forgets everything and reads it anew: another user has come. */
  reset(): void {
    if (this.#state.peek() !== "new") void this.readAnew();
    this.shown.value = [];
  }

  close(): void {
    this.version += 1;
    clearTimeout(this.#timer);
  }

  /** Shows what `load` gives, unless something newer is shown by then; `isWaited`: there is nothing to show meanwhile. */
  protected async read<Answer>(
    isWaited: boolean,
    load: () => Promise<Answer>,
    show: (answer: Answer) => void,
  ): Promise<void> {
    const version = ++this.version;
    const changes = [...this.#changes];
    if (isWaited) this.#state.value = "loading";
    try {
      const answer = await load();
      if (version !== this.version) return;
      batch(() => {
        show(answer);
        // The server may have read what it gives before it made them.
        for (const change of changes) {
          if (!this.#refused.has(change)) this.shown.value = change(this.shown.peek());
        }
        this.#state.value = "ready";
        this.#problem.value = null;
      });
    } catch (error) {
      if (version !== this.version) return;
      this.#problem.value = messageOf(error);
      if (this.#state.peek() !== "ready") this.#state.value = "failed";
    }
  }

  /**
   * Shows a change at once, also in what is read before it is made, and takes it back where the server refuses it,
   * unless there is a newer list.
   */
  protected async change(show: Change<Item>, request: () => Promise<unknown>): Promise<void> {
    const before = this.shown.peek();
    const shown = show(before);
    this.version += 1;
    this.#changes.add(show);
    this.shown.value = shown;
    try {
      await request();
      this.changed();
    } catch (error) {
      this.#refused.add(show);
      if (this.shown.peek() === shown) this.shown.value = before;
      throw error;
    } finally {
      this.#changes.delete(show);
      this.refreshSoon();
    }
  }

  #begin(): void {
    queueMicrotask(() => {
      if (this.#state.peek() === "new") void this.readAnew();
    });
  }
}
