/**
 * A small Markdown: paragraphs, headings, lists, fenced code, inline code, bold and italics.
 * Everything else stays the text that it is. Blocks are descriptions for `patchChildren`; no HTML is ever parsed.
 */
import { copyButton } from "./dom.js";
import { patchChildren } from "./patch.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6}) (.*)$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])( +|$)(.*)$/;
const RULE = /^ {0,3}([-*_])( *\1){2,} *$/;
// While text still comes in, a line that may yet become a marker is held back, so that no raw marker flashes up.
const HALF_MARKER = /(^|\n) *(#{1,6}|[-*+]|\d{1,9}[.)]?|`{1,2}|~{1,2}|-{2,}) *$/;
const HALF_DELIMITER = /(\*{1,2}|`)$/;
const DEEPEST_LIST = 6;

/** Shows growing Markdown in an element; only the block at the end is parsed and touched again. */
export class MarkdownView {
  #text = "";
  #growing = true;
  #open = { start: 0, index: 0 };

  constructor(root) {
    this.root = root;
  }

  /** `growing`: more text may follow, so unfinished syntax at the end is shown as if it were finished. */
  update(text, growing) {
    if (text === this.#text && growing === this.#growing) return;
    if (!text.startsWith(this.#text.slice(0, this.#open.start))) this.#open = { start: 0, index: 0 };
    const { start, index } = this.#open;
    const open = growing ? text.slice(start).replace(HALF_MARKER, "$1") : text.slice(start);
    const lines = open.split("\n");
    const blocks = parseBlocks(lines, growing, 0);
    patchChildren(this.root, blocks.map((block) => block.view), index);
    this.#text = text;
    this.#growing = growing;
    this.#close(blocks, lines);
  }

  /** Closes the blocks before the last one that has a complete first line: until then it may turn out otherwise. */
  #close(blocks, lines) {
    const last = blocks.findLastIndex((block) => block.line < lines.length - 1);
    if (last < 1) return;
    const { start, index } = this.#open;
    const before = lines.slice(0, blocks[last].line).join("\n");
    this.#open = { start: start + before.length + 1, index: index + last };
  }
}

/** The blocks of these lines: the line where each begins, and its description; `depth` lists are around them. */
function parseBlocks(lines, growing, depth) {
  const blocks = [];
  let line = 0;
  while (line < lines.length) {
    if (lines[line].trim() === "") {
      line += 1;
      continue;
    }
    const [view, next] = parseBlock(lines, line, growing, depth);
    blocks.push({ line, view });
    line = next;
  }
  return blocks;
}

function parseBlock(lines, line, growing, depth) {
  if (FENCE.test(lines[line])) return parseFence(lines, line);
  if (RULE.test(lines[line])) return [{ tag: "hr", children: [] }, line + 1];
  if (ITEM.test(lines[line]) && depth < DEEPEST_LIST) return parseList(lines, line, growing, depth);
  const heading = HEADING.exec(lines[line]);
  if (heading) {
    const tag = `h${Math.min(6, heading[1].length + 2)}`;
    return [textBlock(tag, heading[2].trim(), growing && line === lines.length - 1), line + 1];
  }
  let end = line + 1;
  while (end < lines.length && !startsBlock(lines[end])) end += 1;
  return [textBlock("p", lines.slice(line, end).join("\n").trim(), growing && end === lines.length), end];
}

function startsBlock(line) {
  return line.trim() === "" || [FENCE, HEADING, ITEM, RULE].some((pattern) => pattern.test(line));
}

function textBlock(tag, text, growing) {
  return { tag, attributes: { dir: "auto" }, children: parseInline(text, growing) };
}

function parseFence(lines, line) {
  const [, fence, info] = FENCE.exec(lines[line]);
  const closing = new RegExp(`^ {0,3}${fence[0]}{${fence.length},} *$`);
  let end = line + 1;
  while (end < lines.length && !closing.test(lines[end])) end += 1;
  const code = lines.slice(line + 1, end).join("\n");
  const language = line + 1 < lines.length ? info.trim().split(" ")[0] : "";
  const caption = [{ tag: "span", children: [language || "code"] }, { key: "copy", make: copyCodeButton }];
  const view = {
    tag: "figure",
    class: "code",
    attributes: { dir: "ltr" },
    children: [
      { tag: "figcaption", children: caption },
      { tag: "pre", attributes: { tabindex: "0" }, children: [{ tag: "code", children: [code] }] },
    ],
  };
  return [view, end + 1];
}

function copyCodeButton() {
  return copyButton("Copy code", (button) => button.closest("figure").querySelector("code").textContent);
}

function parseList(lines, line, growing, depth) {
  const [, indent, marker] = ITEM.exec(lines[line]);
  const ordered = /\d/.test(marker);
  const items = [];
  let next = line;
  while (next < lines.length && isItem(lines[next], indent.length, ordered)) {
    const [item, end] = collectItem(lines, next);
    const last = growing && end >= lines.length;
    const views = parseBlocks(item, last, depth + 1).map((block) => block.view);
    items.push({ tag: "li", children: unwrapFirst(views) });
    next = end;
    while (next < lines.length && lines[next].trim() === "") next += 1;
  }
  const attributes = ordered ? { dir: "auto", start: String(parseInt(marker, 10)) } : { dir: "auto" };
  return [{ tag: ordered ? "ol" : "ul", attributes, children: items }, next];
}

function isItem(line, indent, ordered) {
  const item = ITEM.exec(line);
  return item !== null && item[1].length <= indent + 1 && /\d/.test(item[2]) === ordered && !RULE.test(line);
}

/** The lines of the item that begins here, without its indentation, and the line after it. */
function collectItem(lines, line) {
  const [, indent, marker, gap, text] = ITEM.exec(lines[line]);
  const width = indent.length + marker.length + Math.min(Math.max(gap.length, 1), 4);
  const item = [text.replace(/^\[ \] /, "☐ ").replace(/^\[x\] /i, "☑ ")];
  let end = line + 1;
  while (end < lines.length) {
    const blank = lines[end].trim() === "";
    const deep = lines[end].length - lines[end].trimStart().length > indent.length + 1;
    if (!blank && !deep && (startsBlock(lines[end]) || lines[end - 1].trim() === "")) break;
    item.push(blank ? "" : lines[end].replace(new RegExp(`^ {0,${width}}`), ""));
    end += 1;
  }
  while (item.at(-1) === "" && item.length > 1) item.pop();
  return [item, end];
}

/** An item's text stands in the item itself; its direction is the list's. */
function unwrapFirst(views) {
  if (views[0]?.tag !== "p") return views;
  return [{ tag: "span", children: views[0].children }, ...views.slice(1)];
}

/** Text with `code`, **bold** and *italics*. */
function parseInline(text, growing) {
  const source = growing ? text.replace(HALF_DELIMITER, "") : text;
  const pattern = growing
    ? /(`+)([^`]+)(?:\1|$)|\*\*(?=\S)([\s\S]+?)(?:\*\*|$)|\*(?=[^\s*])([^*]+?)(?:\*|$)/g
    : /(`+)([^`]+)\1|\*\*(?=\S)([\s\S]+?)\*\*|\*(?=[^\s*])([^*]*[^*\s])\*/g;
  const views = [];
  let end = 0;
  for (const match of source.matchAll(pattern)) {
    if (match.index > end) views.push(source.slice(end, match.index));
    if (match[2] !== undefined) views.push({ tag: "code", attributes: { dir: "ltr" }, children: [match[2]] });
    else if (match[3] !== undefined) views.push({ tag: "strong", children: parseInline(match[3], false) });
    else views.push({ tag: "em", children: parseInline(match[4], false) });
    end = match.index + match[0].length;
  }
  if (end < source.length) views.push(source.slice(end));
  return views;
}
