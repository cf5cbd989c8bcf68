const TAB = 4;

/** What is left of a line while its markers are read off; tabs before text count as spaces to the next tab stop. */
export class Cursor {
  #rest: string;
  #column = 0;

  constructor(line: string) {
    this.#rest = line;
    this.#expandTabs();
  }

  get rest(): string {
    return this.#rest;
  }

  /** The rest without its indentation. */
  get text(): string {
    return this.#rest.slice(this.indent);
  }

  /** Spaces before the text. */
  get indent(): number {
    let indent = 0;
    while (this.#rest[indent] === " ") indent += 1;
    return indent;
  }

  get isBlank(): boolean {
    return this.indent === this.#rest.length;
  }

  skip(columns: number): void {
    this.#rest = this.#rest.slice(columns);
    this.#column += columns;
    this.#expandTabs();
  }

  #expandTabs(): void {
    if (!/^ *\t/.test(this.#rest)) return;
    const blanks = /^[ \t]*/.exec(this.#rest)?.[0] ?? "";
    let column = this.#column;
    for (const blank of blanks) column += blank === " " ? 1 : TAB - (column % TAB);
    this.#rest = " ".repeat(column - this.#column) + this.#rest.slice(blanks.length);
  }
}
