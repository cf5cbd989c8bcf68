/** The browser's storage, which may be missing, full or forbidden: then nothing is kept, and all else works. */

/** Texts by name, kept for one user of one server. */
export class Store {
  readonly #storage: Storage | null;
  readonly #prefix: string;

  constructor(storage: Storage | null, scope: string) {
    this.#storage = storage;
    this.#prefix = `loquent ${scope} `;
  }

  get(name: string): string | null {
    return this.#try((storage) => storage.getItem(this.#prefix + name)) ?? null;
  }

  /** Keeps a text; null forgets it. */
  set(name: string, text: string | null): void {
    const key = this.#prefix + name;
    this.#try((storage) => (text === null ? storage.removeItem(key) : storage.setItem(key, text)));
  }

  /** The names that begin so. */
  names(beginning: string): string[] {
    const found = this.#try((storage) => {
      const keys = Array.from({ length: storage.length }, (_, index) => storage.key(index) ?? "");
      return keys.filter((key) => key.startsWith(this.#prefix + beginning));
    });
    return (found ?? []).map((key) => key.slice(this.#prefix.length));
  }

  /** Tells of each name that another tab has changed; gives the function that ends it. */
  onElsewhere(changed: (name: string) => void): () => void {
    const hear = (event: StorageEvent) => {
      if (event.storageArea === this.#storage && event.key?.startsWith(this.#prefix)) {
        changed(event.key.slice(this.#prefix.length));
      }
    };
    globalThis.addEventListener?.("storage", hear);
    return () => globalThis.removeEventListener?.("storage", hear);
  }

  #try<Value>(use: (storage: Storage) => Value): Value | undefined {
    try {
      return this.#storage ? use(this.#storage) : undefined;
    } catch {
      return undefined;
    }
  }
}
