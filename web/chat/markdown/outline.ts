import type { Block, DocumentBlock, Row } from "./block";
import { parseInline } from "./inline";
import { leafText } from "./leaf-text";
import type { Inline } from "./nodes";
import { BlockParser } from "./parser";

/** What Markdown becomes, as HTML in one line; for tests, which need no page for it. `open`: more may follow. */
export function outline(text: string, open = false): string {
  return outlinePieces([text], open);
}

/** The same of a text that comes in pieces. */
export function outlinePieces(pieces: Iterable<string>, open = false): string {
  const parser = new BlockParser();
  for (const piece of pieces) parser.push(piece);
  if (!open) parser.end();
  return children(parser.document);
}

function children({ children: blocks }: { readonly children: readonly Block[] } | DocumentBlock): string {
  return blocks.map(block).join("");
}

function block(node: Block): string {
  switch (node.type) {
    case "quote":
      return `<blockquote>${children(node)}</blockquote>`;
    case "list": {
      const tag = node.start === null ? "ul" : "ol";
      const start = (node.start ?? 1) === 1 ? "" : ` start=${node.start}`;
      return `<${tag}${start}${node.loose ? " loose" : ""}>${children(node)}</${tag}>`;
    }
    case "item":
      return `<li${node.checked === null ? "" : node.checked ? " done" : " todo"}>${children(node)}</li>`;
    case "paragraph": {
      const tag = node.level === 0 ? "p" : `h${node.level}`;
      return `<${tag}>${inline(leafText(node), node.open)}</${tag}>`;
    }
    case "heading":
      return `<h${node.level}>${inline(leafText(node), node.open)}</h${node.level}>`;
    case "code":
      return `<pre${node.language ? ` ${node.language}` : ""}>${escape(node.text)}</pre>`;
    case "rule":
      return "<hr>";
    case "table":
      return `<table>${node.children.map(row).join("")}</table>`;
    case "row":
      return row(node);
  }
}

function row({ cells, header, parent }: Row): string {
  const tag = header ? "th" : "td";
  const parts = cells.map(({ text, open }, index) => {
    const align = parent.align[index];
    return `<${tag}${align ? ` ${align}` : ""}>${inline(text, open)}</${tag}>`;
  });
  return `<tr>${parts.join("")}</tr>`;
}

function inline(source: string, open: boolean): string {
  return parseInline(source, open).nodes.map(node).join("");
}

function node(part: Inline): string {
  if (typeof part === "string") return escape(part);
  if (part.tag === "br") return "<br>";
  const href = part.href === undefined ? "" : ` ${part.href}`;
  return `<${part.tag}${href}>${part.children.map(node).join("")}</${part.tag}>`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
