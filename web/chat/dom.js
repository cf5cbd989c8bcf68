/** Small helpers over the DOM. Nothing here or elsewhere parses HTML from a string. */

/** The element with this id; the page's own markup guarantees that it exists. */
export const byId = (id) => document.getElementById(id);

/** An element with properties (`class`, `on…` listeners, `data-…` and other attributes) and children. */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** An icon of the page's sprite, hidden from screen readers. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Sets the text of an element that holds nothing else, in the text node that it has. */
export function setText(node, text) {
  if (node.firstChild) node.firstChild.data = text;
  else node.append(text);
}

/** A button with an icon and a visible label. */
export function labelledButton(iconName, label, onclick, properties = {}) {
  return element("button", { type: "button", onclick, ...properties }, icon(iconName), label);
}

/** Runs `work` once before the next paint, however often it is asked for. */
export function oncePerFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}

/** A button that puts `text(button)` on the clipboard and says so for two seconds. */
export function copyButton(label, text) {
  const words = document.createTextNode("Copy");
  const button = element("button", { type: "button", "aria-label": label }, icon("copy"), words);
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text(button));
    words.data = "Copied";
    setTimeout(() => (words.data = "Copy"), 2000);
  });
  return button;
}
