/** What an element remembers from one page to the next: its conversation, and in this tab whether it was open. */

/** The conversation that was open last, and whose it is: the subject of the token. */
export interface Kept {
  readonly owner: string;
  readonly conversation: string | null;
}

/** Kept in the browser's storage, and in memory where there is none or it refuses. */
export class Memory {
  readonly #name: string;
  #kept: Kept | null = null;

  /** `name` tells this element from the others on its site. */
  constructor(name: string) {
    this.#name = `loquent widget ${name}`;
  }

  get kept(): Kept | null {
    this.#kept ??= parse(attempt(() => localStorage.getItem(this.#name)));
    return this.#kept;
  }

  set kept(kept: Kept) {
    this.#kept = kept;
    attempt(() => localStorage.setItem(this.#name, JSON.stringify(kept)));
  }

  get wasOpen(): boolean {
    return attempt(() => sessionStorage.getItem(this.#name)) === "open";
  }

  set wasOpen(wasOpen: boolean) {
    attempt(() => sessionStorage.setItem(this.#name, wasOpen ? "open" : "closed"));
  }
}

/** The storage of drafts; null where the browser forbids even to ask for it. */
export function findStorage(): Storage | null {
  return attempt(() => localStorage);
}

function attempt<Value>(use: () => Value): Value | null {
  try {
    return use();
  } catch {
    return null;
  }
}

function parse(json: string | null): Kept | null {
  const kept = attempt(() => JSON.parse(json ?? "null") as Partial<Kept> | null);
  if (typeof kept?.owner !== "string") return null;
  return {
    owner: kept.owner,
    conversation: typeof kept.conversation === "string" ? kept.conversation : null,
  };
}
