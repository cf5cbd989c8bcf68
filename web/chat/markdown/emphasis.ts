import { type Piece, type Span, values } from "./nodes";

/** The farthest that a marker looks for its counterpart, in characters: beyond it, a marker is text. */
export const REACH = 1000;
/** Markers in a row; more are a line of stars, not emphasis. */
const LONGEST_RUN = 12;

const PUNCTUATION = /[\p{P}\p{S}]/u;
const WIDE = /[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\u{20000}-\u{3ffff}]/u;

/** The piece for the run of `*`, `_` or `~` at this position. */
export function markerRun(source: string, start: number): Piece {
  const character = source.charAt(start);
  let end = start + 1;
  while (source[end] === character) end += 1;
  const value = source.slice(start, end);
  const count = end - start;
  if (count > LONGEST_RUN || (character === "~" && count !== 2)) return { start, end, value };
  const before = characterBefore(source, start);
  const after = end < source.length ? String.fromCodePoint(source.codePointAt(end) ?? 32) : " ";
  const left = flanks(after, before);
  const right = flanks(before, after);
  const isWord = character === "_";
  const canOpen = left && (!isWord || !right || isPunctuation(before));
  const canClose = right && (!isWord || !left || isPunctuation(after));
  return canOpen || canClose
    ? { start, end, value, run: { character, count, canOpen, canClose } }
    : { start, end, value };
}

function characterBefore(source: string, position: number): string {
  if (position === 0) return " ";
  const last = source.charCodeAt(position - 1);
  const isPair = last >= 0xdc00 && last <= 0xdfff && position > 1;
  return isPair ? source.slice(position - 2, position) : source.charAt(position - 1);
}

/** Whether a run belongs to the text on its `inner` side. Han, kana and hangul need no space around emphasis. */
function flanks(inner: string, outer: string): boolean {
  if (/\s/.test(inner)) return false;
  return !isPunctuation(inner) || /\s/.test(outer) || isPunctuation(outer) || WIDE.test(outer);
}

function isPunctuation(character: string): boolean {
  return PUNCTUATION.test(character) && !WIDE.test(character);
}

const TAGS = { em: "em", strong: "strong", del: "del" } as const;

/** Pairs the runs. Those left over keep their `run` when they may still open emphasis. */
export function pairRuns(pieces: readonly Piece[]): Piece[] {
  const done: Piece[] = [];
  for (const piece of pieces) {
    let closing: Piece | null = piece;
    while (closing?.run?.canClose) {
      const index = findOpening(done, closing);
      if (index < 0) break;
      closing = join(done, index, closing);
    }
    if (closing) done.push(closing.run && !closing.run.canOpen ? withoutRun(closing) : closing);
  }
  return done;
}

function findOpening(done: readonly Piece[], closing: Piece): number {
  for (let index = done.length - 1; index >= 0; index -= 1) {
    const opening = done[index];
    if (!opening || closing.start - opening.end > REACH) return -1;
    if (opening.run && closing.run && matches(opening.run, closing.run)) return index;
  }
  return -1;
}

type Run = NonNullable<Piece["run"]>;

function matches(opening: Run, closing: Run): boolean {
  if (opening.character !== closing.character) return false;
  if (opening.character === "~") return true;
  const isAmbiguous = opening.canClose || closing.canOpen;
  return (
    !isAmbiguous ||
    (opening.count + closing.count) % 3 !== 0 ||
    (opening.count % 3 === 0 && closing.count % 3 === 0)
  );
}

/** Wraps what stands between the two runs; gives back what is left of the closing one. */
function join(done: Piece[], index: number, closing: Piece): Piece | null {
  const opening = done[index];
  if (!opening?.run || !closing.run) return null;
  const used = Math.min(opening.run.count, closing.run.count, 2);
  const tag = opening.run.character === "~" ? TAGS.del : used === 2 ? TAGS.strong : TAGS.em;
  const span: Span = { tag, children: values(done.slice(index + 1)) };
  const left = shorten(opening, opening.start, opening.end - used);
  const right = shorten(closing, closing.start + used, closing.end);
  done.length = index;
  if (left) done.push(left);
  done.push({ start: opening.end - used, end: closing.start + used, value: span });
  return right;
}

function shorten(piece: Piece, start: number, end: number): Piece | null {
  if (start === end || !piece.run) return null;
  const count = end - start;
  return { start, end, value: piece.run.character.repeat(count), run: { ...piece.run, count } };
}

function withoutRun({ start, end, value }: Piece): Piece {
  return { start, end, value };
}
