/** A node of text: characters, or an element. */
export type Inline = string | Span;

export interface Span {
  tag: "em" | "strong" | "del" | "code" | "a" | "br";
  /** Of a link; always one that a reader may follow. */
  href?: string;
  children: Inline[];
}

/** A stretch of the source. `run`: markers that are not text yet. */
export interface Piece {
  start: number;
  end: number;
  value: Inline;
  run?: { character: string; count: number; canOpen: boolean; canClose: boolean };
}

/** What the pieces stand for, with text next to text in one string. */
export function values(pieces: readonly Piece[]): Inline[] {
  const result: Inline[] = [];
  for (const { value } of pieces) {
    const last = result.length - 1;
    if (typeof value === "string" && typeof result[last] === "string") result[last] += value;
    else result.push(value);
  }
  return result;
}

/** What a link holds when links cannot hold links. */
export function withoutLinks(nodes: readonly Inline[]): Inline[] {
  return nodes.flatMap((node): Inline[] => {
    if (typeof node === "string") return [node];
    const children = withoutLinks(node.children);
    return node.tag === "a" ? children : [{ ...node, children }];
  });
}

export function plainText(nodes: readonly Inline[]): string {
  return nodes.map((node) => (typeof node === "string" ? node : plainText(node.children))).join("");
}
