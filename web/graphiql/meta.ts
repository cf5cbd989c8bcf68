/** What the server writes into the page: `<meta name="loquent-token" content="…">`; empty if it wrote nothing. */
export function readMeta(name: string): string {
  return document.querySelector<HTMLMetaElement>(`meta[name="loquent-${name}"]`)?.content ?? "";
}
