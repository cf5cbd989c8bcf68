import type { Block, Code, DocumentBlock, Heading, Item, List, Paragraph, Row, Table } from "./block";
import { CodeBlock } from "./code-block";
import { parseInline } from "./inline";
import { leafText } from "./leaf-text";
import type { MarkdownOptions } from "./options";
import { patchInline } from "./patch";
import { joinSettled, type Settled } from "./settle";

/** The level of a first heading: those above it are the page's. */
const FIRST_LEVEL = 3;

let tasks = 0;

/** Shows blocks as nodes: it appends, and takes nodes away only when a paragraph turns out to be a table. */
export class Renderer {
  readonly #options: MarkdownOptions;
  /** The elements of the blocks, or the ones in them that their children go into. */
  readonly #elements = new WeakMap<Block | DocumentBlock, HTMLElement>();
  readonly #code = new Map<Block, CodeBlock>();
  readonly #settled = new WeakMap<Block, Settled>();

  constructor(root: HTMLElement, document: DocumentBlock, options: MarkdownOptions) {
    this.#options = options;
    this.#elements.set(document, root);
  }

  /** Shows a new or changed block; its parent has been shown before. */
  show(block: Block): void {
    switch (block.type) {
      case "quote":
        this.#elementOf(block, "blockquote");
        return;
      case "list":
        return this.#showList(block);
      case "item":
        return this.#showItem(block);
      case "paragraph":
        return this.#showParagraph(block);
      case "heading":
        return this.#showHeading(block);
      case "code":
        return this.#showCode(block);
      case "rule":
        this.#elementOf(block, "hr");
        return;
      case "table":
        return this.#showTable(block);
      case "row":
        return this.#showRow(block);
    }
  }

  destroy(): void {
    for (const code of this.#code.values()) code.destroy();
  }

  /** The block's element, made and put behind what its parent holds if there is none yet. */
  #elementOf(block: Exclude<Block, Row>, tag: string): HTMLElement {
    const known = this.#elements.get(block);
    if (known) return known;
    const element = document.createElement(tag);
    this.#place(block, element);
    return element;
  }

  /** Puts a block's element behind what its parent holds. */
  #place(block: Exclude<Block, Row>, element: HTMLElement): void {
    // Only the outermost: an element looks past children with a direction of their own when it finds out its own.
    if (block.parent.type === "document" && element.dir === "") element.dir = "auto";
    this.#elements.get(block.parent)?.append(element);
    this.#elements.set(block, element);
  }

  #showList(list: List): void {
    const element = this.#elementOf(list, list.start === null ? "ul" : "ol");
    if (element instanceof HTMLOListElement && list.start !== null && list.start !== 1)
      element.start = list.start;
    element.toggleAttribute("data-loose", list.loose);
  }

  #showItem(item: Item): void {
    const element = document.createElement("li");
    this.#place(item, element);
    if (item.checked === null) return;
    const box = document.createElement("input");
    box.type = "checkbox";
    box.disabled = true;
    box.defaultChecked = item.checked;
    tasks += 1;
    box.setAttribute("aria-labelledby", `markdown-task-${tasks}`);
    element.append(box);
  }

  #showParagraph(paragraph: Paragraph): void {
    if (paragraph.text === "") return this.#elements.get(paragraph)?.remove();
    const element = this.#showText(paragraph, "p");
    if (!element || paragraph.level === 0) return;
    element.role = "heading";
    element.ariaLevel = String(FIRST_LEVEL + paragraph.level - 1);
  }

  #showHeading(heading: Heading): void {
    const level = Math.min(6, FIRST_LEVEL + heading.level - 1);
    this.#showText(heading, `h${level}`);
  }

  /** Shows what is certain of a text; the element comes with its first node. */
  #showText(block: Paragraph | Heading, tag: string): HTMLElement | null {
    const source = leafText(block);
    let settled = this.#settled.get(block) ?? null;
    if (settled && settled.offset > source.length) settled = null;
    const { nodes, settled: found } = parseInline(source, block.open, settled?.offset);
    const known = this.#elements.get(block);
    if (nodes.length === 0 && block.open && !known) return null;
    const element = known ?? document.createElement(tag);
    patchInline(element, nodes, settled);
    if (!known) this.#place(block, element);
    if (found) this.#settled.set(block, joinSettled(settled, found));
    if (settled || found) holdDirection(element, block.open);
    if (block.parent.type === "item") nameBox(element);
    return element;
  }

  #showCode(block: Code): void {
    let code = this.#code.get(block);
    if (!code) {
      code = new CodeBlock(block, this.#options);
      this.#place(block, code.element);
      this.#code.set(block, code);
    }
    code.update();
  }

  #showTable(table: Table): void {
    const box = document.createElement("div");
    box.className = "table";
    box.tabIndex = 0;
    box.role = "group";
    const element = document.createElement("table");
    element.append(document.createElement("thead"));
    box.append(element);
    this.#place(table, box);
    this.#elements.set(table, element);
  }

  #showRow(row: Row): void {
    const table = this.#elements.get(row.parent);
    if (!(table instanceof HTMLTableElement)) return;
    const element = this.#elements.get(row) ?? createRow(table, row);
    this.#elements.set(row, element);
    for (const [index, cell] of row.cells.entries()) {
      const box = element.children[index];
      if (box) patchInline(box, parseInline(cell.text, cell.open).nodes);
    }
    if (row.header) table.parentElement?.setAttribute("aria-label", cellTexts(element));
  }
}

function createRow(table: HTMLTableElement, row: Row): HTMLElement {
  const body = row.header ? table.tHead : (table.tBodies[0] ?? table.createTBody());
  const element = document.createElement("tr");
  for (const align of row.parent.align) {
    const cell = document.createElement(row.header ? "th" : "td");
    if (row.header) cell.setAttribute("scope", "col");
    if (align) cell.dataset["align"] = align;
    element.append(cell);
  }
  body?.append(element);
  return element;
}

function cellTexts(row: HTMLElement): string {
  return [...row.children].map((cell) => cell.textContent).join(", ");
}

/**
 * Writes down the direction of a long text while it grows: Chromium looks for it again with every node that comes, which
 * takes longer with every node that there is.
 */
function holdDirection(element: HTMLElement, isGrowing: boolean): void {
  if (element.dir === "") return;
  if (!isGrowing) element.dir = "auto";
  else if (element.dir === "auto") element.dir = getComputedStyle(element).direction;
}

/** Lets the first text of a task name the box before it. */
function nameBox(text: HTMLElement): void {
  const id = text.previousElementSibling?.getAttribute("aria-labelledby");
  if (id) text.id = id;
}
