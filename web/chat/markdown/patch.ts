import type { Inline, Span } from "./nodes";
import type { Settled } from "./settle";

/**
 * Makes the children of `parent` the nodes given, changing as little as possible, so that a reader's selection stays.
 *
 * `settled`: the nodes and characters in front that are final and not given again.
 */
export function patchInline(parent: Node, nodes: readonly Inline[], settled: Settled | null = null): void {
  let child: ChildNode | null = parent.childNodes[settled?.nodes ?? 0] ?? null;
  let kept = settled?.characters ?? 0;
  const fresh = document.createDocumentFragment();
  const goesOn = kept === 0 || typeof nodes[0] === "string";
  for (const node of goesOn ? nodes : ["", ...nodes]) {
    if (child && fits(child, node)) {
      update(child, node, kept);
      child = child.nextSibling;
    } else if (child) parent.insertBefore(create(node), child);
    else fresh.append(create(node));
    kept = 0;
  }
  // All at once: an element with `dir="auto"` looks through its text after every change.
  if (fresh.firstChild) parent.appendChild(fresh);
  removeFrom(child);
}

function fits(child: ChildNode, node: Inline): boolean {
  return typeof node === "string"
    ? child instanceof Text
    : child instanceof Element && child.localName === node.tag;
}

function update(child: ChildNode, node: Inline, kept: number): void {
  if (typeof node !== "string") patchInline(child, node.children);
  else if (child instanceof Text) updateText(child, node, kept);
}

/** Changes the text behind the first `kept` characters; what it already begins with is left alone. */
function updateText(child: Text, text: string, kept: number): void {
  const shown = kept > 0 ? child.data.slice(kept) : child.data;
  if (text === shown) return;
  if (text.startsWith(shown)) child.appendData(text.slice(shown.length));
  else child.replaceData(kept, shown.length, text);
}

function removeFrom(first: ChildNode | null): void {
  let child = first;
  while (child) {
    const next: ChildNode | null = child.nextSibling;
    child.remove();
    child = next;
  }
}

function create(node: Inline): Node {
  return typeof node === "string" ? document.createTextNode(node) : createSpan(node);
}

function createSpan(span: Span): HTMLElement {
  const element = document.createElement(span.tag);
  if (span.tag === "code") element.dir = "ltr";
  if (element instanceof HTMLAnchorElement) {
    element.href = span.href ?? "";
    element.target = "_blank";
    element.rel = "noopener noreferrer nofollow";
  }
  patchInline(element, span.children);
  return element;
}
