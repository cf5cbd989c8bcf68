import type { MarkdownOptions } from "./options";
import { BlockParser } from "./parser";
import { Renderer } from "./renderer";

export type { Highlight, MarkdownOptions } from "./options";

/**
 * Shows Markdown that grows, as nodes below an element.
 *
 * Text that is appended costs what it is long, whatever came before. Nothing of it is ever parsed as HTML, and links
 * lead to the web or to mail only.
 */
export class MarkdownView {
  readonly #root: HTMLElement;
  readonly #options: MarkdownOptions;
  #text = "";
  #isFinished = false;
  #parser = new BlockParser();
  #renderer: Renderer;

  constructor(root: HTMLElement, options: MarkdownOptions) {
    this.#root = root;
    this.#options = options;
    this.#renderer = new Renderer(root, this.#parser.document, options);
    root.classList.add("markdown");
  }

  /** Shows the whole text so far. `growing`: more may follow, so what may yet turn out to be markup is held back. */
  update(text: string, growing: boolean): void {
    if (text === this.#text && growing !== this.#isFinished) return;
    // Engines compare whole strings by memory, but `startsWith` by character: with long texts most of the time went there.
    if (this.#isFinished || text.slice(0, this.#text.length) !== this.#text) this.#restart();
    this.#parser.push(text.slice(this.#text.length));
    if (!growing) this.#parser.end();
    this.#text = text;
    this.#isFinished = !growing;
    for (const block of this.#parser.takeChanged()) this.#renderer.show(block);
  }

  destroy(): void {
    this.#restart();
  }

  #restart(): void {
    this.#renderer.destroy();
    this.#root.replaceChildren();
    this.#text = "";
    this.#isFinished = false;
    this.#parser = new BlockParser();
    this.#renderer = new Renderer(this.#root, this.#parser.document, this.#options);
  }
}
