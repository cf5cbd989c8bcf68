/** The bearer token: asked for when there is none, and once again when the server refuses it. */
import { signal, type ReadonlySignal } from "@preact/signals";

/** Gives a token; asked again after a refusal. Null: there is none at hand. */
export type TokenSource = () => string | null | Promise<string | null>;

export type Access = "granted" | "refused";

export class Tokens {
  readonly #source: TokenSource;
  readonly #access = signal<Access>("granted");
  readonly #owner = signal<string | null>(null);
  #known: string | null = null;
  #refused: string | null = null;
  /** The token at hand was asked for because of a refusal, and nothing has accepted it yet. */
  #isSecond = false;
  #asking: Promise<void> | null = null;
  #waiting: (() => void)[] = [];

  constructor(source: TokenSource) {
    this.#source = source;
  }

  /** "refused" while the source gives nothing that works. */
  get access(): ReadonlySignal<Access> {
    return this.#access;
  }

  /** The subject of the newest token; what is kept in the browser is kept for them alone. */
  get owner(): ReadonlySignal<string | null> {
    return this.#owner;
  }

  /** A token to try: waits while access is refused. */
  async current(): Promise<string> {
    while (this.#known === null) {
      if (this.#access.peek() === "refused") await new Promise<void>((go) => this.#waiting.push(go));
      else await (this.#asking ??= this.#ask().finally(() => (this.#asking = null)));
    }
    return this.#known;
  }

  /** The server let this token in. */
  accept(token: string): void {
    if (token === this.#known) this.#isSecond = false;
  }

  /** The server refused this token: the source is asked once more, by whoever needs one next. */
  refuse(token: string): void {
    if (token !== this.#known) return;
    this.#known = null;
    this.#refused = token;
    if (this.#isSecond) this.#access.value = "refused";
  }

  /** What the source gives now, for trying it; null where there is none. */
  async offer(): Promise<string | null> {
    try {
      return (await this.#source()) || null;
    } catch {
      return null;
    }
  }

  /** Uses a token that the server has let in; everybody who waits goes on. */
  grant(token: string): void {
    this.#use(token);
    this.#isSecond = false;
    this.#refused = null;
    this.#access.value = "granted";
    for (const go of this.#waiting.splice(0)) go();
  }

  async #ask(): Promise<void> {
    const token = await this.offer();
    if (this.#known !== null) return;
    if (token === null || token === this.#refused) {
      this.#access.value = "refused";
      return;
    }
    this.#isSecond = this.#refused !== null;
    this.#use(token);
  }

  #use(token: string): void {
    this.#known = token;
    this.#owner.value = subjectOf(token);
  }
}

/** The `sub` of a JWT, which only the server can verify; empty where it cannot be read. */
export function subjectOf(token: string): string {
  try {
    const payload = token.split(".")[1] ?? "";
    const bytes = Uint8Array.from(atob(payload.replace(/-/g, "+").replace(/_/g, "/")), (c) =>
      c.charCodeAt(0),
    );
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    const subject = (claims as { sub?: unknown } | null)?.sub;
    return typeof subject === "string" ? subject : "";
  } catch {
    return "";
  }
}
