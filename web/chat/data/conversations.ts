/** The list of conversations: newest activity first, the same in all tabs. */
import { batch, computed, effect, signal, type ReadonlySignal, type Signal } from "@preact/signals";
import type { Client } from "./client";
import { messageOf } from "./errors";
import {
  ConversationsDocument,
  DeleteConversationDocument,
  UpdateConversationDocument,
  type ConversationsQuery,
  type SummaryFragment,
  type UpdateConversationInput,
} from "./generated/graphql";

const PAGE = 30;
const LARGEST_PAGE = 100;
const SEARCH_AFTER_MS = 200;
const TOGETHER_MS = 50;

/** A conversation as the list shows it. */
export type Summary = SummaryFragment;

export type ListState = "new" | "loading" | "ready" | "failed";

type Page = ConversationsQuery["conversations"];

export class ConversationList {
  /** Words to look for, in titles and messages; the list follows when typing pauses. */
  readonly search: Signal<string> = signal("");
  /** Whether the archived conversations are shown in place of the others. */
  readonly archived: Signal<boolean> = signal(false);
  readonly hasMore: ReadonlySignal<boolean>;
  readonly #client: Client;
  readonly #changed: () => void;
  readonly #items = signal<readonly Summary[]>([], { watched: () => this.#begin() });
  /** Read when somebody first looks at it. */
  readonly items: ReadonlySignal<readonly Summary[]> = this.#items;
  readonly #state = signal<ListState>("new");
  readonly state: ReadonlySignal<ListState> = this.#state;
  readonly #problem = signal<string | null>(null);
  /** Why it could not be read. */
  readonly problem: ReadonlySignal<string | null> = this.#problem;
  readonly #next = signal<string | null>(null);
  readonly #dispose: () => void;
  #reading = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #wait: ReturnType<typeof setTimeout> | undefined;
  #isMore = false;

  /** `changed` is called when this list has changed something, for the other tabs. */
  constructor(client: Client, changed: () => void) {
    this.#client = client;
    this.#changed = changed;
    this.hasMore = computed(() => this.#next.value !== null);
    let known = this.#query();
    this.#dispose = effect(() => {
      const query = this.#query();
      if (query.search === known.search && query.archived === known.archived) return;
      const wait = query.archived === known.archived ? SEARCH_AFTER_MS : 0;
      known = query;
      clearTimeout(this.#wait);
      this.#wait = setTimeout(() => void this.#readAnew(), wait);
    });
  }

  /** Reads what is shown again. Never rejects: the state tells. */
  async refresh(): Promise<void> {
    const shown = this.#items.peek();
    await this.#read(Math.min(LARGEST_PAGE, Math.max(PAGE, shown.length)), shown);
  }

  /** Soon, and once for several calls; not before anybody has looked at it. */
  refreshSoon(): void {
    if (this.#state.peek() === "new") return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.refresh(), TOGETHER_MS);
  }

  /** Reads one more page. Rejects with `ServerError`. */
  async loadMore(): Promise<void> {
    const after = this.#next.peek();
    if (after === null || this.#isMore) return;
    this.#isMore = true;
    const reading = this.#reading;
    try {
      const { conversations } = await this.#client.request(ConversationsDocument, {
        ...this.#query(),
        first: PAGE,
        after,
      });
      if (reading !== this.#reading) return;
      batch(() => {
        this.#items.value = append(this.#items.peek(), summariesOf(conversations));
        this.#next.value = nextOf(conversations);
      });
    } finally {
      this.#isMore = false;
    }
  }

  /** Names a conversation; null lets the model name it again. Rejects with `ServerError`. */
  async rename(id: string, title: string | null): Promise<void> {
    await this.#update((items) => items.map((item) => (item.id === id ? { ...item, title } : item)), {
      id,
      title,
    });
  }

  /** Puts a conversation into the archive, or takes it out. Rejects with `ServerError`. */
  async archive(id: string, archived: boolean): Promise<void> {
    const isLeaving = archived !== this.archived.peek();
    await this.#update((items) => (isLeaving ? items.filter((item) => item.id !== id) : items), {
      id,
      archived,
    });
  }

  /** Deletes a conversation for good. Rejects with `ServerError`. */
  async remove(id: string): Promise<void> {
    await this.#change(
      (items) => items.filter((item) => item.id !== id),
      () => this.#client.request(DeleteConversationDocument, { input: { id } }),
    );
  }

  close(): void {
    this.#dispose();
    this.#reading += 1;
    clearTimeout(this.#timer);
    clearTimeout(this.#wait);
  }

  /** Forgets everything and reads it anew: another user has come. */
  reset(): void {
    batch(() => {
      this.search.value = "";
      this.archived.value = false;
    });
    if (this.#state.peek() !== "new") void this.#readAnew();
    this.#items.value = [];
    this.#next.value = null;
  }

  #begin(): void {
    queueMicrotask(() => {
      if (this.#state.peek() === "new") void this.#readAnew();
    });
  }

  #readAnew(): Promise<void> {
    return this.#read(PAGE, []);
  }

  /** Reads the first page; of what was shown, what comes behind it stays. */
  async #read(first: number, shown: readonly Summary[]): Promise<void> {
    const reading = ++this.#reading;
    if (this.#items.peek().length === 0 || shown.length === 0) this.#state.value = "loading";
    try {
      const { conversations } = await this.#client.request(ConversationsDocument, {
        ...this.#query(),
        first,
      });
      if (reading !== this.#reading) return;
      batch(() => {
        const { items, keepsTail } = mergeFirstPage(
          shown,
          summariesOf(conversations),
          conversations.pageInfo.hasNextPage,
        );
        this.#items.value = items;
        if (!keepsTail) this.#next.value = nextOf(conversations);
        this.#state.value = "ready";
        this.#problem.value = null;
      });
    } catch (error) {
      if (reading !== this.#reading) return;
      this.#problem.value = messageOf(error);
      if (this.#state.peek() !== "ready") this.#state.value = "failed";
    }
  }

  #update(
    show: (items: readonly Summary[]) => readonly Summary[],
    input: UpdateConversationInput,
  ): Promise<void> {
    return this.#change(show, () => this.#client.request(UpdateConversationDocument, { input }));
  }

  /** Shows a change at once, and takes it back where the server refuses it, unless there is a newer list. */
  async #change(
    show: (items: readonly Summary[]) => readonly Summary[],
    request: () => Promise<unknown>,
  ): Promise<void> {
    const before = this.#items.peek();
    const shown = show(before);
    this.#reading += 1;
    this.#items.value = shown;
    try {
      await request();
      this.#changed();
    } catch (error) {
      if (this.#items.peek() === shown) this.#items.value = before;
      throw error;
    } finally {
      this.refreshSoon();
    }
  }

  #query(): { search: string | null; archived: boolean } {
    return { search: this.search.value.trim() || null, archived: this.archived.value };
  }
}

/** A first page read anew, and behind it what was shown behind its last entry. */
export function mergeFirstPage(
  shown: readonly Summary[],
  page: readonly Summary[],
  hasNext: boolean,
): { items: readonly Summary[]; keepsTail: boolean } {
  const last = page.at(-1);
  if (!hasNext || !last) return { items: page, keepsTail: false };
  const ids = new Set(page.map(({ id }) => id));
  const end = Date.parse(last.updatedAt);
  const tail = shown.filter((item) => !ids.has(item.id) && Date.parse(item.updatedAt) <= end);
  return tail.length > 0 ? { items: [...page, ...tail], keepsTail: true } : { items: page, keepsTail: false };
}

/** A next page behind what is shown, without what has come up meanwhile. */
export function append(shown: readonly Summary[], page: readonly Summary[]): readonly Summary[] {
  const ids = new Set(shown.map(({ id }) => id));
  return [...shown, ...page.filter(({ id }) => !ids.has(id))];
}

function summariesOf(page: Page): Summary[] {
  return page.edges.map(({ node }) => node);
}

function nextOf({ pageInfo }: Page): string | null {
  return pageInfo.hasNextPage ? pageInfo.endCursor : null;
}
