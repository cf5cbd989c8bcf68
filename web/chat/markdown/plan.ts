import type { Alignment, Code, Container, Leaf, Paragraph } from "./block";
import { Cursor } from "./cursor";
import { lastLine } from "./leaf-text";
import * as starts from "./starts";
import { columnsOf, isDelimiterRow } from "./table";

/** Containers inside each other; markers beyond are text. */
const DEEPEST = 24;

export type ContainerStart =
  | { type: "quote" }
  | { type: "item"; delimiter: string; start: number | null; offset: number; checked: boolean | null };

export type Action =
  | { type: "blank" }
  | { type: "text"; text: string }
  | { type: "line"; text: string }
  | { type: "gap" }
  | { type: "close" }
  | { type: "row"; text: string }
  | { type: "underline"; level: number }
  | { type: "table"; align: Alignment[] }
  | { type: "heading"; level: number; text: string }
  | { type: "fence"; fence: string; language: string; indent: number }
  | { type: "indented"; text: string }
  | { type: "rule" };

/** What one line does to the blocks that are open. */
export interface Plan {
  /** So many of the open containers hold the line, the document included. */
  matched: number;
  /** The open paragraph takes the line although the line is outside of its containers. */
  lazy: boolean;
  opens: ContainerStart[];
  action: Action;
}

/**
 * Plans a line, or the beginning of one (`complete: false`).
 *
 * `null`: what came of the line can still become different things. A plan never has to be taken back, whatever follows.
 */
export function planLine(
  line: string,
  complete: boolean,
  path: readonly Container[],
  leaf: Leaf | null,
): Plan | null {
  const cursor = new Cursor(line);
  const matched = matchContainers(cursor, path);
  if (cursor.isBlank && !complete) return null;
  const plan = (action: Action, opens: ContainerStart[] = [], lazy = false): Plan => ({
    matched,
    lazy,
    opens,
    action,
  });
  const open = matched === path.length ? leaf : null;
  if (open?.type === "code") {
    const action = codeAction(cursor, complete, open);
    if (action !== "end") return action && plan(action);
  }
  if (cursor.isBlank) return plan({ type: "blank" });
  const opens: ContainerStart[] = [];
  for (;;) {
    const own = opens.length === 0 ? open : null;
    const lazy = leaf?.type === "paragraph" && opens.length === 0 && own === null ? leaf : null;
    if (cursor.isBlank) return complete ? plan({ type: "blank" }, opens) : null;
    const action = leafAction(cursor, complete, own, lazy, opens.at(-1)?.type === "item");
    if (action === "undecided") return null;
    if (action) return plan(action, opens, lazy !== null && action.type === "text");
    const start = matched + opens.length < DEEPEST ? containerStart(cursor, own) : null;
    if (start) opens.push(start);
    else if (own?.type === "table") return plan({ type: "row", text: cursor.text });
    else return plan({ type: "text", text: cursor.text }, opens, lazy !== null);
  }
}

function matchContainers(cursor: Cursor, path: readonly Container[]): number {
  for (const [index, container] of path.entries()) {
    if (container.type === "quote") {
      if (cursor.indent > 3 || !cursor.text.startsWith(">")) return index;
      skipQuoteMarker(cursor);
    } else if (container.type === "item") {
      if (cursor.isBlank ? container.children.length === 0 : cursor.indent < container.offset) return index;
      cursor.skip(Math.min(container.offset, cursor.indent));
    }
  }
  return path.length;
}

function skipQuoteMarker(cursor: Cursor): void {
  cursor.skip(cursor.indent + 1);
  if (cursor.indent > 0) cursor.skip(1);
}

/** What a line does to the code that it is in; `null`: too early to say; `"end"`: it is behind indented code. */
function codeAction(cursor: Cursor, complete: boolean, code: Code): Action | null | "end" {
  if (code.fence === null) {
    if (cursor.isBlank) return { type: "gap" };
    if (cursor.indent < 4) return "end";
    cursor.skip(4);
    return { type: "line", text: cursor.rest };
  }
  if (cursor.indent < 4 && !cursor.isBlank && starts.closesFence(cursor.text, code.fence, complete)) {
    return complete ? { type: "close" } : null;
  }
  cursor.skip(Math.min(cursor.indent, code.indent));
  return { type: "line", text: cursor.rest };
}

/** The leaf that begins here; `null`: perhaps a container, else text. */
function leafAction(
  cursor: Cursor,
  complete: boolean,
  own: Leaf | null,
  lazy: Paragraph | null,
  item: boolean,
): Action | null | "undecided" {
  const paragraph = own?.type === "paragraph" ? own : lazy;
  if (cursor.indent > 3) {
    if (paragraph) return { type: "text", text: cursor.text };
    cursor.skip(4);
    return { type: "indented", text: cursor.rest };
  }
  const text = cursor.text;
  const around = { item, paragraph: paragraph !== null, table: own?.type === "table" };
  if (!complete && starts.isHalfStart(text, around)) return "undecided";
  if (paragraph && complete && (!lazy || lazy.lazy)) {
    const align = isDelimiterRow(text) ? columnsOf(lastLine(paragraph.text), text) : null;
    if (align) return { type: "table", align };
    const level = lazy ? 0 : starts.underlineLevel(text);
    if (level > 0) return { type: "underline", level };
  }
  const level = starts.headingLevel(text);
  if (level > 0) return { type: "heading", level, text: text.slice(level).trimStart() };
  const fence = starts.openingFence(text);
  if (fence) return { type: "fence", ...fence, indent: cursor.indent };
  return starts.isRule(text) ? { type: "rule" } : null;
}

/** Reads a container's marker off the line. */
function containerStart(cursor: Cursor, own: Leaf | null): ContainerStart | null {
  if (cursor.text.startsWith(">")) {
    skipQuoteMarker(cursor);
    return { type: "quote" };
  }
  const marker = starts.listMarker(cursor.text);
  if (!marker) return null;
  const isEmpty = cursor.text.slice(marker.length).trim() === "";
  if (own?.type === "paragraph" && (isEmpty || (marker.start ?? 1) !== 1)) return null;
  const width = cursor.indent + marker.length;
  cursor.skip(width);
  const gap = isEmpty || cursor.indent > 4 ? 1 : cursor.indent;
  cursor.skip(Math.min(gap, cursor.indent));
  const checked = starts.taskBox(cursor.rest);
  if (checked !== null) cursor.skip(3);
  return { type: "item", delimiter: marker.delimiter, start: marker.start, offset: width + gap, checked };
}
