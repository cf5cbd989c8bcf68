/** What who shows Markdown may choose. */

/** Turns code into nodes with colours; `null`: the language is unknown. */
export type Highlight = (code: string, language: string) => DocumentFragment | null;

export interface MarkdownOptions {
  /** Loads the highlighter; asked for when a code block is finished. */
  highlight?: () => Promise<Highlight>;
  copyLabel: string;
  copiedLabel: string;
}
