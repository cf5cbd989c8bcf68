/** The bearer token: what the user entered, for this tab only; else the server's own, in development. */
import { forThisTab, keep } from "./storage";

const KEY = "loquent-token";

let entered = forThisTab?.getItem(KEY) ?? null;

export function readToken(): string | null {
  return entered ?? (givenToken() || null);
}

/** The token that came with the page; a reload brings a new one. */
export function givenToken(): string {
  return document.querySelector<HTMLMetaElement>(`meta[name="${KEY}"]`)?.content ?? "";
}

export function keepToken(token: string): void {
  entered = token;
  keep(forThisTab, KEY, token);
}

export function forgetToken(): void {
  entered = null;
  keep(forThisTab, KEY, null);
}
