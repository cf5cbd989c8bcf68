/** The list of conversations: newest activity first, the same in all tabs. */
import { batch, computed, effect, signal, type ReadonlySignal, type Signal } from "@preact/signals";
import type { Client } from "./client";
import {
  ConversationsDocument,
  DeleteConversationDocument,
  UpdateConversationDocument,
  type ConversationsQuery,
  type SummaryFragment,
  type UpdateConversationInput,
} from "./generated/graphql";
import { List } from "./list";

const PAGE = 30;
const LARGEST_PAGE = 100;
const SEARCH_AFTER_MS = 200;

/** A conversation as the list shows it. */
export type Summary = SummaryFragment;

type Page = ConversationsQuery["conversations"];

export class ConversationList extends List<Summary> {
  /** Words to look for, in titles and messages; the list follows when typing pauses. */
  readonly search: Signal<string> = signal("");
  /** Whether the archived conversations are shown in place of the others. */
  readonly archived: Signal<boolean> = signal(false);
  readonly hasMore: ReadonlySignal<boolean>;
  readonly #next = signal<string | null>(null);
  readonly #dispose: () => void;
  #wait: ReturnType<typeof setTimeout> | undefined;
  #isMore = false;

  /** `changed` is called when this list has changed something, for the other tabs. */
  constructor(client: Client, changed: () => void) {
    super(client, changed);
    this.hasMore = computed(() => this.#next.value !== null);
    let known = this.#query();
    this.#dispose = effect(() => {
      const query = this.#query();
      if (query.search === known.search && query.archived === known.archived) return;
      const wait = query.archived === known.archived ? SEARCH_AFTER_MS : 0;
      known = query;
      clearTimeout(this.#wait);
      this.#wait = setTimeout(() => void this.readAnew(), wait);
    });
  }

  async refresh(): Promise<void> {
    const shown = this.shown.peek();
    await this.#readFirst(Math.min(LARGEST_PAGE, Math.max(PAGE, shown.length)), shown);
  }

  /** Reads one more page. Rejects with `ServerError`. */
  async loadMore(): Promise<void> {
    const after = this.#next.peek();
    if (after === null || this.#isMore) return;
    this.#isMore = true;
    const version = this.version;
    try {
      const { conversations } = await this.client.request(ConversationsDocument, {
        ...this.#query(),
        first: PAGE,
        after,
      });
      if (version !== this.version) return;
      batch(() => {
        this.shown.value = append(this.shown.peek(), summariesOf(conversations));
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
    const isLeaving = () => archived !== this.archived.peek();
    await this.#update((items) => (isLeaving() ? items.filter((item) => item.id !== id) : items), {
      id,
      archived,
    });
  }

  /** Deletes a conversation for good. Rejects with `ServerError`. */
  async remove(id: string): Promise<void> {
    await this.change(
      (items) => items.filter((item) => item.id !== id),
      () => this.client.request(DeleteConversationDocument, { input: { id } }),
    );
  }

  override close(): void {
    super.close();
    this.#dispose();
    clearTimeout(this.#wait);
  }

  override reset(): void {
    batch(() => {
      this.search.value = "";
      this.archived.value = false;
    });
    super.reset();
    this.#next.value = null;
  }

  protected readAnew(): Promise<void> {
    return this.#readFirst(PAGE, []);
  }

  /** Reads the first page; of what was shown, what comes behind it stays. */
  #readFirst(first: number, shown: readonly Summary[]): Promise<void> {
    return this.read(
      this.shown.peek().length === 0 || shown.length === 0,
      () => this.client.request(ConversationsDocument, { ...this.#query(), first }),
      ({ conversations }) => {
        const page = summariesOf(conversations);
        const { items, keepsTail } = mergeFirstPage(shown, page, conversations.pageInfo.hasNextPage);
        this.shown.value = items;
        if (!keepsTail) this.#next.value = nextOf(conversations);
      },
    );
  }

  #update(
    show: (items: readonly Summary[]) => readonly Summary[],
    input: UpdateConversationInput,
  ): Promise<void> {
    return this.change(show, () => this.client.request(UpdateConversationDocument, { input }));
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
