import type { Code } from "./block";
import type { MarkdownOptions } from "./options";

/** Longer code stays without colours: the highlighter would take longer than a frame. */
const LONGEST_HIGHLIGHTED = 20_000;
const COPIED_MS = 2000;

/** Code with its language and a button that copies it. */
export class CodeBlock {
  readonly element = document.createElement("figure");
  readonly #code: Code;
  readonly #options: MarkdownOptions;
  readonly #output = document.createElement("code");
  readonly #text = document.createTextNode("");
  #shown = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isFinished = false;

  constructor(code: Code, options: MarkdownOptions) {
    this.#code = code;
    this.#options = options;
    this.element.dir = "ltr";
    this.element.className = "code";
    this.element.append(this.#createCaption(), this.#createBox());
  }

  /** Shows the code that has come in, and its colours once it is finished. */
  update(): void {
    const { text, open } = this.#code;
    const end = open && /[\ud800-\udbff]$/.test(text) ? text.length - 1 : text.length;
    if (end > this.#shown) this.#text.appendData(text.slice(this.#shown, end));
    this.#shown = end;
    if (open || this.#isFinished) return;
    this.#isFinished = true;
    void this.#highlight();
  }

  /** Ends what still waits. */
  destroy(): void {
    clearTimeout(this.#timer);
    this.#isFinished = true;
    this.#text.remove();
  }

  #createCaption(): HTMLElement {
    const caption = document.createElement("figcaption");
    const language = document.createElement("span");
    language.textContent = this.#code.language || "code";
    caption.append(language, this.#createCopyButton());
    return caption;
  }

  #createBox(): HTMLElement {
    const box = document.createElement("pre");
    box.tabIndex = 0;
    this.#output.append(this.#text);
    box.append(this.#output);
    return box;
  }

  #createCopyButton(): HTMLButtonElement {
    const button = document.createElement("button");
    const { copyLabel, copiedLabel } = this.#options;
    button.type = "button";
    button.textContent = copyLabel;
    button.hidden = !navigator.clipboard;
    const sayCopied = (): void => {
      button.textContent = copiedLabel;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => (button.textContent = copyLabel), COPIED_MS);
    };
    // A browser that refuses says so itself; the button then goes on to say that it copies.
    const stay = (): void => undefined;
    button.addEventListener("click", () => {
      void navigator.clipboard.writeText(this.#code.text).then(sayCopied, stay);
    });
    return button;
  }

  /** Puts the coloured nodes before the plain text and empties it, so that no node is taken away. */
  async #highlight(): Promise<void> {
    const { text, language } = this.#code;
    if (!this.#options.highlight || language === "" || text.length > LONGEST_HIGHLIGHTED) return;
    const highlight = await this.#options.highlight();
    const fragment = this.#text.isConnected ? highlight(text, language.toLowerCase()) : null;
    if (!fragment || fragment.textContent !== text) return;
    this.#text.before(fragment);
    this.#text.data = "";
  }
}
