/** Properties that a page has set on an element before its class was there. */

/** Takes them from the element and sets them once more, so that the class hears of them. */
export function setAgain(element: HTMLElement, names: readonly string[]): void {
  for (const name of names) {
    const early = Object.getOwnPropertyDescriptor(element, name);
    if (early && Reflect.deleteProperty(element, name)) Reflect.set(element, name, early.value);
  }
}
