/** Where the focus was before the panel opened, and where it is put inside. */

export class Focus {
  readonly #host: Element;
  #before: Element | null = null;
  #isWanted = false;

  /** `host`: the element, which has the focus as far as the page knows when something in it has. */
  constructor(host: Element) {
    this.#host = host;
  }

  /** The panel is about to open, and the focus is to go into it. */
  want(): void {
    this.#before = document.activeElement;
    this.#isWanted = true;
  }

  /** Puts the focus into a panel that has just opened, if it is wanted there. */
  enter(panel: HTMLElement): void {
    if (!this.#isWanted) return;
    this.#isWanted = false;
    // Where the keyboard is on the screen, it would cover what the panel says first.
    const field = matchMedia("(pointer: fine)").matches
      ? panel.querySelector<HTMLElement>(".foot textarea")
      : null;
    (field ?? panel).focus({ preventScroll: true });
  }

  /** Gives the focus back to where it was, or to the launcher. */
  leave(launcher: HTMLElement | null): void {
    const before = this.#before;
    this.#before = null;
    if (before instanceof HTMLElement && before !== document.body && before !== this.#host) {
      before.focus({ preventScroll: true });
      if (document.activeElement === before) return;
    }
    launcher?.focus({ preventScroll: true });
  }
}

/** The element inside that has the focus. */
export function findFocus(panel: HTMLElement): HTMLElement | null {
  const active = (panel.getRootNode() as ShadowRoot).activeElement;
  return active instanceof HTMLElement && panel.contains(active) ? active : null;
}
