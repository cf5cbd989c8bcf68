/** The blocks of a document; the parser only ever appends to them. */
export type Alignment = "left" | "center" | "right" | null;

interface Child {
  readonly parent: Exclude<Container, List>;
}

export interface DocumentBlock {
  readonly type: "document";
  readonly children: Block[];
}

export interface Quote extends Child {
  readonly type: "quote";
  readonly children: Block[];
}

export interface List extends Child {
  readonly type: "list";
  readonly children: Item[];
  /** The bullet, or what follows the number; another one begins another list. */
  readonly delimiter: string;
  /** The first number; `null`: a list of bullets. */
  readonly start: number | null;
  /** Blank lines stand between the items or inside one. */
  loose: boolean;
}

export interface Item {
  readonly type: "item";
  readonly parent: List;
  readonly children: Block[];
  /** Columns that the lines of this item are indented by. */
  readonly offset: number;
  /** Ticked or not; `null`: not a task. */
  readonly checked: boolean | null;
}

export interface Paragraph extends Child {
  readonly type: "paragraph";
  text: string;
  /** The last line stands outside of the paragraph's containers. */
  lazy: boolean;
  /** 1 or 2 as soon as a line of `=` or `-` below makes it a heading, 0 before. */
  level: number;
  open: boolean;
}

export interface Heading extends Child {
  readonly type: "heading";
  readonly level: number;
  text: string;
  open: boolean;
}

export interface Code extends Child {
  readonly type: "code";
  text: string;
  /** The first word behind the fence. */
  readonly language: string;
  /** The opening fence; `null`: indented code. */
  readonly fence: string | null;
  /** Spaces before the fence, which its lines lose too. */
  readonly indent: number;
  /** Whether a line has been written yet: the first one needs no line break before it. */
  started: boolean;
  open: boolean;
}

export interface Rule extends Child {
  readonly type: "rule";
}

export interface Table extends Child {
  readonly type: "table";
  readonly children: Row[];
  readonly align: readonly Alignment[];
}

export interface Row {
  readonly type: "row";
  readonly parent: Table;
  readonly cells: readonly Cell[];
  readonly header: boolean;
  source: string;
}

export interface Cell {
  text: string;
  open: boolean;
}

export type Container = DocumentBlock | Quote | List | Item;
export type Leaf = Paragraph | Heading | Code | Table;
export type Block = Quote | List | Item | Paragraph | Heading | Code | Rule | Table | Row;
