import { type Piece, values } from "./nodes";

/** What comes before `offset` in the source makes `nodes` nodes and the first `characters` of the text behind them. */
export interface Settled {
  offset: number;
  nodes: number;
  characters: number;
}

/** Before which piece parsing can begin again; not in the middle of what may become an e-mail address. */
export function settle(source: string, certain: readonly Piece[]): Settled | null {
  for (let index = certain.length - 1; index > 0; index -= 1) {
    const piece = certain[index];
    if (typeof piece?.value !== "string" || /[\w.+-]/.test(source.charAt(piece.start - 1))) continue;
    const before = values(certain.slice(0, index));
    const last = before.at(-1);
    const isText = typeof last === "string";
    return {
      offset: piece.start,
      nodes: before.length - (isText ? 1 : 0),
      characters: isText ? last.length : 0,
    };
  }
  return null;
}

/** Puts together what had settled before and what has settled behind it. */
export function joinSettled(before: Settled | null, found: Settled): Settled {
  if (!before) return found;
  const isSameText = found.nodes === 0;
  return {
    offset: found.offset,
    nodes: before.nodes + found.nodes,
    characters: isSameText ? before.characters + found.characters : found.characters,
  };
}
