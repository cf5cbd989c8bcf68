import { markerRun, pairRuns, REACH } from "./emphasis";
import { characterReference } from "./entities";
import { angledAddress, bareAddress, halfAddress, linkTarget } from "./links";
import { type Inline, type Piece, plainText, values, withoutLinks } from "./nodes";
import { type Settled, settle } from "./settle";

export interface ParsedInline {
  nodes: Inline[];
  /** From where to parse when the source has grown; `null`: from where it was parsed now. */
  settled: Settled | null;
}

/** So much is parsed again without looking for a place to begin. */
const SETTLING = 2000;

const WORD = /[("']+|[^ \t\n\\`*_~[\]!<&("']+/y;
const BLANKS = /[ \t]*\n?/y;
const HARD_BREAK = /  [ \t]*\n$/;
const TAG = /<(?:\/?[A-Za-z][A-Za-z0-9-]*(?:\s[^<>]{0,1000})?\/?|!--[^>]{0,1000}--|[!?][^<>]{0,1000})>/y;
const HALF_TAG = /<(?:[A-Za-z/!?][^<>]{0,1000})?$/y;
const HALF_REFERENCE = /&#?[A-Za-z0-9]{0,32}$/y;

/**
 * Parses the text of a block. `open`: more may follow, so what may still turn out to be markup is left out.
 *
 * The nodes for an open source are always the beginning of the nodes for a longer one. `from`: what comes before has
 * settled and is not parsed.
 */
export function parseInline(source: string, open: boolean, from = 0): ParsedInline {
  return new InlineParser(source, open, from).parse();
}

interface Bracket {
  /** Where its piece stands. */
  index: number;
  start: number;
  image: boolean;
  /** A link inside it has ended: links hold no links. */
  spent: boolean;
}

class InlineParser {
  readonly #source: string;
  readonly #open: boolean;
  readonly #pieces: Piece[] = [];
  readonly #brackets: Bracket[] = [];
  #position: number;
  /** For a number of backticks, up to where no such run was found. */
  readonly #searched = new Map<number, number>();
  /** Nothing from here on is certain yet. */
  #hold = Number.POSITIVE_INFINITY;

  constructor(source: string, open: boolean, from: number) {
    this.#source = open && /[\ud800-\udbff]$/.test(source) ? source.slice(0, -1) : source;
    this.#open = open;
    this.#position = from;
  }

  parse(): ParsedInline {
    const from = this.#position;
    while (this.#position < this.#source.length) this.#parseNext();
    for (const { start, spent } of this.#brackets) if (!spent) this.#holdWithin(start);
    const pieces = pairRuns(this.#pieces);
    for (const { run, start, end } of pieces) if (run) this.#holdWithin(start, end);
    const last = pieces.findIndex((piece) => piece.end > this.#hold);
    const certain = last < 0 ? pieces : pieces.slice(0, last);
    const isLong = this.#open && this.#source.length - from > SETTLING;
    return { nodes: values(certain), settled: isLong ? settle(this.#source, certain) : null };
  }

  #parseNext(): void {
    const start = this.#position;
    switch (this.#source[start]) {
      case "\\":
        return this.#parseEscape(start);
      case "`":
        return this.#parseCode(start);
      case "*":
      case "_":
      case "~":
        return this.#parseRun(start);
      case "[":
        return this.#openBracket(start, false);
      case "]":
        return this.#closeBracket(start);
      case "!":
        if (this.#source[start + 1] === "[") return this.#openBracket(start, true);
        if (start + 1 === this.#source.length) this.#holdAt(start);
        return this.#add(start + 1);
      case "<":
        return this.#parseAngle(start);
      case "&":
        return this.#parseReference(start);
      case " ":
      case "\t":
      case "\n":
        return this.#parseBlanks(start);
      default:
        return this.#parseWord(start);
    }
  }

  /** Adds the piece from here to `end`, as the text that it is unless there is a value. */
  #add(end: number, value: Inline = this.#source.slice(this.#position, end)): void {
    this.#pieces.push({ start: this.#position, end, value });
    this.#position = end;
  }

  #holdAt(position: number): void {
    if (this.#open) this.#hold = Math.min(this.#hold, position);
  }

  /** Holds from an opening marker on, as long as its counterpart may come near enough. */
  #holdWithin(start: number, end = start): void {
    if (this.#source.length - end <= REACH) this.#holdAt(start);
  }

  #parseEscape(start: number): void {
    const next = this.#source[start + 1];
    if (next === undefined) this.#holdAt(start);
    if (next === "\n") return this.#add(start + 2, { tag: "br", children: [] });
    if (next !== undefined && /[!-/:-@[-`{-~]/.test(next)) return this.#add(start + 2, next);
    this.#add(start + 1);
  }

  #parseCode(start: number): void {
    let end = start;
    while (this.#source[end] === "`") end += 1;
    if (end === this.#source.length) this.#holdAt(start);
    const close = this.#findFence(end, end - start);
    if (close === null) {
      this.#holdWithin(start, end);
      return this.#add(end);
    }
    const after = close + end - start;
    if (after === this.#source.length) this.#holdAt(start);
    const code = this.#source.slice(end, close).replaceAll("\n", " ");
    const isPadded = code.startsWith(" ") && code.endsWith(" ") && code.trim() !== "";
    this.#add(after, { tag: "code", children: [isPadded ? code.slice(1, -1) : code] });
  }

  /** Where a run of exactly so many backticks begins. */
  #findFence(from: number, length: number): number | null {
    const limit = Math.min(this.#source.length, from + REACH + 1);
    let index = Math.max(from, this.#searched.get(length) ?? 0);
    while (index < limit) {
      let end = index;
      while (this.#source[end] === "`") end += 1;
      if (end - index === length) return index;
      index = Math.max(end, index + 1);
    }
    this.#searched.set(length, index);
    return null;
  }

  #parseRun(start: number): void {
    const piece = markerRun(this.#source, start);
    if (piece.end === this.#source.length) this.#holdAt(start);
    this.#pieces.push(piece);
    this.#position = piece.end;
  }

  #openBracket(start: number, image: boolean): void {
    this.#brackets.push({ index: this.#pieces.length, start, image, spent: false });
    this.#add(start + (image ? 2 : 1));
  }

  #closeBracket(start: number): void {
    const bracket = this.#brackets.pop();
    if (!bracket || bracket.spent || start - bracket.start > REACH) return this.#add(start + 1);
    if (start + 1 === this.#source.length) this.#holdAt(bracket.start);
    const target = this.#source[start + 1] === "(" ? linkTarget(this.#source, start + 1) : null;
    if (target === "half") this.#holdAt(bracket.start);
    if (target === null || target === "half") return this.#add(start + 1);
    const label = values(pairRuns(this.#pieces.slice(bracket.index + 1)));
    this.#pieces.length = bracket.index;
    this.#position = bracket.start;
    if (bracket.image) return this.#addImage(label, target);
    this.#spendBrackets(start);
    this.#addLink(withoutLinks(label), target);
  }

  #spendBrackets(position: number): void {
    for (let index = this.#brackets.length - 1; index >= 0; index -= 1) {
      const outer = this.#brackets[index];
      if (!outer || position - outer.start > REACH) return;
      outer.spent ||= !outer.image;
    }
  }

  #addLink(children: Inline[], { href, end }: { href: string | null; end: number }): void {
    if (href !== null) return this.#add(end, { tag: "a", href, children });
    for (const child of children) this.#pieces.push({ start: this.#position, end, value: child });
    this.#position = end;
  }

  /** An image is not fetched: its description is a link to it. */
  #addImage(label: Inline[], target: { href: string | null; end: number }): void {
    const text = plainText(label);
    const children = [text || (target.href ?? "")];
    this.#addLink(children, target);
  }

  #parseAngle(start: number): void {
    const address = angledAddress(this.#source, start);
    if (address?.href)
      return this.#add(address.end, { tag: "a", href: address.href, children: [address.text] });
    TAG.lastIndex = start;
    const tag = TAG.exec(this.#source);
    if (tag) return this.#add(start + tag[0].length);
    HALF_TAG.lastIndex = start;
    if (HALF_TAG.test(this.#source)) this.#holdAt(start);
    this.#add(start + 1);
  }

  #parseReference(start: number): void {
    const reference = characterReference(this.#source, start);
    if (reference) return this.#add(reference.end, reference.text);
    HALF_REFERENCE.lastIndex = start;
    if (HALF_REFERENCE.test(this.#source)) this.#holdAt(start);
    this.#add(start + 1);
  }

  #parseBlanks(start: number): void {
    BLANKS.lastIndex = start;
    const blanks = BLANKS.exec(this.#source)?.[0] ?? " ";
    const end = start + blanks.length;
    if (end === this.#source.length) this.#holdAt(start);
    if (!blanks.endsWith("\n")) return this.#add(end);
    this.#add(end, HARD_BREAK.test(blanks) ? { tag: "br", children: [] } : "\n");
  }

  #parseWord(start: number): void {
    const isBeginning = start === 0 || !/[\p{L}\p{N}]/u.test(this.#source.charAt(start - 1));
    const half = isBeginning && this.#open ? halfAddress(this.#source, start) : null;
    if (half !== null) this.#holdAt(half);
    const address = isBeginning && half === null ? bareAddress(this.#source, start) : null;
    if (address) {
      // The beginning of an e-mail address was text until its @ came: the text node stays, even if it is empty now.
      if (address.href?.startsWith("mailto:")) this.#pieces.push({ start, end: start, value: "" });
      const text = this.#source.slice(start, address.end);
      return this.#add(address.end, { tag: "a", href: address.href ?? "", children: [text] });
    }
    WORD.lastIndex = start;
    const end = start + (WORD.exec(this.#source)?.[0].length ?? 1);
    if (half !== null && half > start && half < end) this.#add(half);
    this.#add(end);
  }
}
