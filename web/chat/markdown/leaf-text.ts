import type { Heading, Paragraph } from "./block";

/** The source of the text in a paragraph or heading; of an open one, what is sure to stay in it. */
export function leafText(block: Paragraph | Heading): string {
  const text = block.type === "heading" ? block.text.replace(/(^|[ \t])#+[ \t]*$/, "$1") : block.text;
  if (!block.open) return trimBlanks(text);
  return block.type === "paragraph" ? withoutHeader(text) : text;
}

export function lastLine(text: string): string {
  return text.slice(text.lastIndexOf("\n") + 1);
}

/** Not by a regular expression, which looks for the end from each blank of a long run. */
function trimBlanks(text: string): string {
  let end = text.length;
  while (text[end - 1] === " " || text[end - 1] === "\t") end -= 1;
  return text.slice(0, end);
}

/** A text without its last line as far as that may yet become the header of a table. */
function withoutHeader(text: string): string {
  const start = text.lastIndexOf("\n") + 1;
  const pipe = text.indexOf("|", start);
  if (pipe < 0) return text;
  return text.slice(0, pipe === start ? Math.max(0, start - 1) : pipe);
}
