import { characterReference } from "./entities";

/** The longest address, so that a bracket without an end does not cost more than this. */
const LONGEST = 2048;
const LONGEST_EMAIL = 320;
const LONGEST_REFERENCE = 33;
const DEEPEST_PARENTHESES = 32;
const SAFE = /^(?:https?:\/\/|mailto:)/i;

const BARE = /(?:https?:\/\/|www\.)[^\s<>`\]\u3000-\u303f\uff00-\uffef]{1,2048}/iy;
const HALF_BARE = /(?:h(?:t(?:tp?)?)?|https?(?::\/{0,2})?|w{1,3}\.?)$/iy;
const EMAIL = /[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}/y;
const ANGLE = /<([A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]{0,2048}|[^\s<>@:/]{1,64}@[A-Za-z0-9.-]{1,255})>/y;

export interface Address {
  href: string | null;
  end: number;
}

/** The address if a reader may follow it from here; `null`: another scheme, or none, or one without a host. */
function safeAddress(address: string): string | null {
  return SAFE.test(address) && URL.canParse(address) ? address : null;
}

/**
 * The `(address "title")` at this position; `null`: there is none; `"half"`: the source ends too early to say.
 */
export function linkTarget(source: string, position: number): Address | null | "half" {
  const limit = Math.min(source.length, position + LONGEST);
  let index = skipBlanks(source, position + 1, limit);
  let start = index;
  let depth = 0;
  const isAngled = source[index] === "<";
  for (; index < limit; index += 1) {
    const character = source[index] ?? "";
    if (character === "\\") index += 1;
    else if (isAngled ? /[<>\n]/.test(character) && index > start : /\s/.test(character)) break;
    else if (!isAngled && character === "(" && ++depth > DEEPEST_PARENTHESES) return null;
    else if (!isAngled && character === ")" && --depth < 0) break;
  }
  if (index >= limit) return limit === source.length ? "half" : null;
  if (isAngled) start += 1;
  const href = safeAddress(unescape(source.slice(start, index)));
  const end = closingParenthesis(source, isAngled ? index + 1 : index, limit);
  return typeof end === "number" ? { href, end } : end;
}

/** Where the link ends whose address ends at this position; a title may stand between. */
function closingParenthesis(source: string, position: number, limit: number): number | null | "half" {
  let index = skipBlanks(source, position, limit);
  const quote = source[index] ?? "";
  if (index > position && /["'(]/.test(quote)) {
    const close = quote === "(" ? ")" : quote;
    for (index += 1; index < limit && source[index] !== close; index += 1)
      if (source[index] === "\\") index += 1;
    index = skipBlanks(source, index + 1, limit);
  }
  if (index >= limit) return limit === source.length ? "half" : null;
  return source[index] === ")" ? index + 1 : null;
}

function skipBlanks(source: string, position: number, limit: number): number {
  let index = position;
  while (index < limit && /\s/.test(source[index] ?? "")) index += 1;
  return index;
}

function unescape(text: string): string {
  let result = "";
  for (let index = 0; index < text.length; index += 1) {
    const reference = text[index] === "&" ? characterReference(text, index) : null;
    if (reference) {
      result += reference.text;
      index = reference.end - 1;
    } else if (text[index] === "\\" && /[!-/:-@[-`{-~]/.test(text[index + 1] ?? "")) result += text[++index];
    else result += text[index];
  }
  return result;
}

/** The `<address>` at this position. */
export function angledAddress(source: string, position: number): (Address & { text: string }) | null {
  ANGLE.lastIndex = position;
  const text = ANGLE.exec(source)?.[1];
  if (text === undefined) return null;
  const isEmail = !/^[A-Za-z][A-Za-z0-9+.-]*:/.test(text);
  return { text, href: safeAddress(isEmail ? `mailto:${text}` : text), end: position + text.length + 2 };
}

/** The web or e-mail address that begins at this position, at the beginning of a word. */
export function bareAddress(source: string, position: number): Address | null {
  BARE.lastIndex = position;
  const found = BARE.exec(source)?.[0];
  if (found !== undefined && found.length <= LONGEST) {
    const text = trimEnd(found);
    const href = safeAddress(/^www\./i.test(text) ? `https://${text}` : text);
    if (href !== null) return { href, end: position + text.length };
  }
  EMAIL.lastIndex = position;
  const email = EMAIL.exec(source)?.[0].replace(/[-_.]+$/, "");
  return email?.includes("@") ? { href: `mailto:${email}`, end: position + email.length } : null;
}

/** Punctuation at the end belongs to the sentence, and so does a closing parenthesis without an opening one. */
function trimEnd(address: string): string {
  let end = address.length;
  let unopened = count(address, ")") - count(address, "(");
  for (;;) {
    const reference = /&[A-Za-z0-9]{1,31};$/.exec(address.slice(Math.max(0, end - LONGEST_REFERENCE), end));
    const last = address.charAt(end - 1);
    if (reference) end -= reference[0].length;
    else if (last === ")" && unopened > 0) {
      end -= 1;
      unopened -= 1;
    } else if (/[?!.,:;*_~'"]/.test(last)) end -= 1;
    else return address.slice(0, end);
  }
}

function count(text: string, character: string): number {
  return text.split(character).length - 1;
}

/** Where the end of an unfinished source may be part of an address that begins with this word, or `null`. */
export function halfAddress(source: string, position: number): number | null {
  HALF_BARE.lastIndex = position;
  if (HALF_BARE.test(source)) return position;
  BARE.lastIndex = position;
  const found = BARE.exec(source)?.[0];
  if (found !== undefined && position + found.length === source.length && found.length < LONGEST)
    return position;
  if (source.length - position > LONGEST_EMAIL) return null;
  const local = /^[A-Za-z0-9._+-]{1,64}(?=@[A-Za-z0-9.-]*$)/.exec(source.slice(position));
  return local && position + local[0].length;
}
