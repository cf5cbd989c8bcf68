/** Recognises how lines begin. Every function gets the line without its indentation. */
const MARKER = /^([-+*]|(\d{1,9})([.)]))(?=[ \t]|$)/;
const TASK = /^\[([ xX])\](?=[ \t]+[^ \t])/;
const RULE = /^(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const HEADING = /^(#{1,6})(?=[ \t]|$)/;
const FENCE = /^(`{3,}(?=[^`]*$)|~{3,})(.*)$/;
const UNDERLINE = /^(=+|-+)[ \t]*$/;

// The beginnings that still leave open what the line will be.
const HALF_START =
  /^(?:#{1,6}[ \t]*|\d{1,9}|(?:[-+*]|\d{1,9}[.)])[ \t]*|([-*_])(?:[ \t]*\1)*[ \t]*|`{1,2}|~{1,2}|`{3,}[^`]*|~{3,}.*)$/;
const HALF_TASK = /^\[(?:[ xX](?:\][ \t]*)?)?$/;

export interface ListMarker {
  length: number;
  delimiter: string;
  start: number | null;
}

export function listMarker(text: string): ListMarker | null {
  const match = MARKER.exec(text);
  if (!match?.[1]) return null;
  const [, marker, digits, delimiter] = match;
  return { length: marker.length, delimiter: delimiter ?? marker, start: digits ? Number(digits) : null };
}

/** Whether a task's box is ticked; `null`: the item is no task. */
export function taskBox(text: string): boolean | null {
  const match = TASK.exec(text);
  return match && match[1] !== " ";
}

export function headingLevel(text: string): number {
  return HEADING.exec(text)?.[1]?.length ?? 0;
}

export function openingFence(text: string): { fence: string; language: string } | null {
  const match = FENCE.exec(text);
  if (!match?.[1]) return null;
  return { fence: match[1], language: /[^\s{]*/.exec(match[2]?.trim() ?? "")?.[0] ?? "" };
}

export function isRule(text: string): boolean {
  return RULE.test(text);
}

/** 1 for a line of `=`, 2 for a line of `-`, else 0. */
export function underlineLevel(text: string): number {
  if (!UNDERLINE.test(text)) return 0;
  return text.startsWith("=") ? 1 : 2;
}

/** Whether the line closes this fence, or may yet when it is `complete: false`. */
export function closesFence(text: string, fence: string, complete: boolean): boolean {
  const run = text.trimEnd();
  if (run !== fence.charAt(0).repeat(run.length)) return false;
  return complete ? run.length >= fence.length : true;
}

/** Whether it is too early to say what this line begins. */
export function isHalfStart(
  text: string,
  around: { item: boolean; paragraph: boolean; table: boolean },
): boolean {
  if (HALF_START.test(text)) return true;
  if (around.item && HALF_TASK.test(text)) return true;
  if (around.paragraph && (UNDERLINE.test(text) || /^[|:\- \t]+$/.test(text))) return true;
  return text.startsWith("|") && !around.table;
}
