import type {
  Alignment,
  Block,
  Code,
  Container,
  DocumentBlock,
  Item,
  Leaf,
  List,
  Quote,
  Row,
  Table,
} from "./block";
import { append, endRow, startCodeLine } from "./fill";
import { lastLine } from "./leaf-text";
import { type Action, type ContainerStart, type Plan, planLine } from "./plan";

/**
 * Parses the blocks of Markdown that comes in pieces: CommonMark with tables and task lists, where HTML is text and
 * links have no definitions elsewhere.
 *
 * A line is placed as soon as its beginning leaves no doubt and then never again, so the cost of a piece does not
 * depend on what came before it, and the blocks do not depend on how the text was cut.
 */
export class BlockParser {
  readonly document: DocumentBlock = { type: "document", children: [] };
  #path: Container[] = [this.document];
  #leaf: Leaf | null = null;
  /** What came of the last line, as long as nothing could be done with it. */
  #line = "";
  /** The leaf that takes the rest of the last line. */
  #target: Leaf | Row | null = null;
  #afterBlank = false;
  #gap = 0;
  #changed = new Set<Block>();

  push(piece: string): void {
    const lines = piece.replaceAll("\r", "").split("\n");
    for (const [index, line] of lines.entries()) this.#take(line, index < lines.length - 1);
  }

  /** Says that nothing follows. */
  end(): void {
    this.#take("", true);
    this.#close(1);
  }

  /** The blocks that are new or different since the last call, each behind its parent. */
  takeChanged(): Block[] {
    const changed = [...this.#changed];
    this.#changed.clear();
    return changed;
  }

  #take(text: string, complete: boolean): void {
    if (this.#target) append(this.#target, text);
    else {
      this.#line += text;
      if (this.#line === "" && !complete) return;
      const plan = planLine(this.#line, complete, this.#path, this.#leaf);
      if (!plan) return;
      this.#line = "";
      this.#apply(plan);
    }
    if (this.#target) this.#changed.add(this.#target);
    if (complete) this.#finishLine();
  }

  #finishLine(): void {
    if (this.#target?.type === "row") endRow(this.#target);
    if (this.#target?.type === "heading") this.#closeLeaf();
    this.#target = null;
  }

  #apply({ matched, lazy, opens, action }: Plan): void {
    if (action.type === "table") return this.#openTable(action.align, matched);
    const goesOn =
      lazy || (matched === this.#path.length && opens.length === 0 && continues(action, this.#leaf));
    if (!goesOn) this.#close(matched);
    for (const start of opens) this.#openContainer(start);
    this.#act(action, goesOn, lazy);
    this.#afterBlank = action.type === "gap" || (action.type === "blank" && opens.length === 0);
  }

  #act(action: Exclude<Action, { type: "table" }>, goesOn: boolean, lazy: boolean): void {
    switch (action.type) {
      case "text":
        return this.#addText(action.text, goesOn, lazy);
      case "heading":
        return this.#open({ ...action, parent: this.#parent(), open: true });
      case "fence":
        return this.#openCode(action);
      case "indented":
        this.#openCode({ fence: null, language: "", indent: 0 });
        return this.#addCode(action.text);
      case "line":
        return this.#addCode(action.text);
      case "gap":
        this.#gap += 1;
        return;
      case "close":
        return this.#closeLeaf();
      case "rule":
        return this.#add({ type: "rule", parent: this.#parent() });
      case "underline":
        if (this.#leaf?.type === "paragraph") this.#leaf.level = action.level;
        return this.#closeLeaf();
      case "row":
        if (this.#leaf?.type === "table") this.#target = this.#addRow(this.#leaf, action.text, false);
    }
  }

  #addText(text: string, goesOn: boolean, lazy: boolean): void {
    if (goesOn && this.#leaf?.type === "paragraph") {
      this.#leaf.text += `\n${text}`;
      this.#leaf.lazy = lazy;
      this.#target = this.#leaf;
    } else this.#open({ type: "paragraph", parent: this.#parent(), text, lazy: false, level: 0, open: true });
  }

  #openCode({ fence, language, indent }: Pick<Code, "fence" | "language" | "indent">): void {
    const parent = this.#parent();
    this.#open({ type: "code", parent, text: "", fence, language, indent, started: false, open: true });
    this.#target = null;
  }

  #addCode(text: string): void {
    if (this.#leaf?.type !== "code") return;
    startCodeLine(this.#leaf, this.#gap);
    this.#gap = 0;
    this.#leaf.text += text;
    this.#target = this.#leaf;
  }

  /** Makes the last line of the open paragraph the header of a table, which stands where that line stands. */
  #openTable(align: Alignment[], matched: number): void {
    const paragraph = this.#leaf;
    if (paragraph?.type !== "paragraph") return;
    const header = lastLine(paragraph.text);
    paragraph.text = paragraph.text.slice(0, -header.length).trimEnd();
    if (paragraph.text === "") paragraph.parent.children.pop();
    this.#close(matched);
    const table: Table = { type: "table", parent: this.#parent(), children: [], align };
    this.#open(table);
    endRow(this.#addRow(table, header, true));
    this.#target = null;
  }

  #addRow(table: Table, source: string, header: boolean): Row {
    const cells = table.align.map(() => ({ text: "", open: true }));
    const row: Row = { type: "row", parent: table, cells, header, source: "" };
    append(row, source);
    table.children.push(row);
    this.#changed.add(row);
    return row;
  }

  #openContainer(start: ContainerStart): void {
    if (start.type === "quote") {
      const quote: Quote = { type: "quote", parent: this.#parent(), children: [] };
      this.#add(quote);
      this.#path.push(quote);
      return;
    }
    const list = this.#listFor(start);
    const item: Item = {
      type: "item",
      parent: list,
      children: [],
      offset: start.offset,
      checked: start.checked,
    };
    if (this.#afterBlank && list.children.length > 0) this.#loosen(list);
    list.children.push(item);
    this.#changed.add(item);
    this.#path.push(item);
  }

  #listFor({ delimiter, start }: { delimiter: string; start: number | null }): List {
    const last = this.#path.at(-1);
    if (last?.type === "list" && last.delimiter === delimiter) return last;
    const list: List = { type: "list", parent: this.#parent(), children: [], delimiter, start, loose: false };
    this.#add(list);
    this.#path.push(list);
    return list;
  }

  #open(leaf: Leaf): void {
    this.#add(leaf);
    this.#leaf = leaf;
    this.#target = leaf;
  }

  /** The innermost open container for anything but an item: a list ends where something else begins. */
  #parent(): Exclude<Container, List> {
    const last = this.#path.at(-1) ?? this.document;
    if (last.type !== "list") return last;
    this.#path.pop();
    return this.#parent();
  }

  #add(block: Exclude<Block, Row | Item>): void {
    const { parent } = block;
    if (this.#afterBlank && parent.type === "item" && parent.children.length > 0) this.#loosen(parent.parent);
    parent.children.push(block);
    this.#changed.add(block);
  }

  #loosen(list: List): void {
    list.loose = true;
    this.#changed.add(list);
  }

  /** Closes the leaf and all containers but the first `kept`. */
  #close(kept: number): void {
    this.#closeLeaf();
    this.#path.length = kept;
  }

  #closeLeaf(): void {
    const leaf = this.#leaf;
    this.#leaf = null;
    this.#gap = 0;
    if (!leaf || leaf.type === "table") return;
    leaf.open = false;
    this.#changed.add(leaf);
  }
}

/** Whether the open leaf stays open. */
function continues(action: Action, leaf: Leaf | null): boolean {
  if (action.type === "text") return leaf?.type === "paragraph";
  return ["line", "gap", "row", "underline", "close"].includes(action.type);
}
