const NAMED: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: "\u00a0",
  shy: "\u00ad",
  copy: "©",
  reg: "®",
  trade: "™",
  hellip: "…",
  mdash: "—",
  ndash: "–",
  lsquo: "‘",
  rsquo: "’",
  ldquo: "“",
  rdquo: "”",
  laquo: "«",
  raquo: "»",
  bull: "•",
  middot: "·",
  sect: "§",
  para: "¶",
  deg: "°",
  plusmn: "±",
  times: "×",
  divide: "÷",
  minus: "−",
  ne: "≠",
  le: "≤",
  ge: "≥",
  asymp: "≈",
  infin: "∞",
  radic: "√",
  sum: "∑",
  pi: "π",
  micro: "µ",
  frac12: "½",
  frac14: "¼",
  frac34: "¾",
  larr: "←",
  uarr: "↑",
  rarr: "→",
  darr: "↓",
  harr: "↔",
  rArr: "⇒",
  euro: "€",
  pound: "£",
  yen: "¥",
  cent: "¢",
  ensp: "\u2002",
  emsp: "\u2003",
  thinsp: "\u2009",
  zwj: "\u200d",
  zwnj: "\u200c",
};

const REFERENCE = /&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([A-Za-z][A-Za-z0-9]{0,31}));/y;

/** The character reference at this position and where it ends; `null`: there is none that is known. */
export function characterReference(source: string, position: number): { text: string; end: number } | null {
  REFERENCE.lastIndex = position;
  const match = REFERENCE.exec(source);
  if (!match) return null;
  const [whole, decimal, hexadecimal, name] = match;
  const text =
    name !== undefined
      ? Object.hasOwn(NAMED, name)
        ? NAMED[name]
        : undefined
      : fromCode(decimal !== undefined ? Number(decimal) : Number.parseInt(hexadecimal ?? "0", 16));
  return text === undefined ? null : { text, end: position + whole.length };
}

function fromCode(code: number): string {
  const isCharacter = code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
  return isCharacter ? String.fromCodePoint(code) : "\ufffd";
}
