/** What the user is typing: one draft for each conversation, and one for the next. */
import { effect, signal, type Signal } from "@preact/signals";
import type { Store } from "./store";

const NEW = "new";

/** The draft of one conversation; `store` is null until it is known whose drafts these are. */
export class Draft {
  readonly text: Signal<string> = signal("");
  readonly #dispose: () => void;
  #store: Store | null = null;
  #id: string | null;

  constructor(id: string | null, store: Signal<Store | null>) {
    this.#id = id;
    const stopWaiting = effect(() => this.#use(store.value));
    const stopKeeping = effect(() => this.#keep(this.text.value));
    this.#dispose = () => {
      stopWaiting();
      stopKeeping();
    };
  }

  /** The new conversation has an id now: what is typed already goes with it. */
  moveTo(id: string): void {
    this.#store?.set(this.#name, null);
    this.#id = id;
    this.#keep(this.text.peek());
  }

  /** What is kept belongs to whoever opens it next. */
  close(): void {
    this.#dispose();
    this.#store = null;
  }

  get #name(): string {
    return `draft ${this.#id ?? NEW}`;
  }

  #use(store: Store | null): void {
    if (store === null || store === this.#store) return;
    const typed = this.text.peek();
    this.#store = store;
    if (typed === "") this.text.value = store.get(this.#name) ?? "";
    else this.#keep(typed);
  }

  #keep(text: string): void {
    this.#store?.set(this.#name, text === "" ? null : text);
  }
}
