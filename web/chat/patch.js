/**
 * Makes the children of a node equal to a description, changing as little as possible, so that a reader's
 * selection survives while text streams in.
 *
 * A description is a string, or { tag, class, attributes, children } with descriptions as children, or
 * { make } for a child that is built once and then left alone.
 */
export function patchChildren(parent, descriptions, first = 0) {
  let node = parent.childNodes[first] ?? null;
  for (const description of descriptions) {
    if (node && isSame(node, description)) {
      update(node, description);
      node = node.nextSibling;
    } else {
      const fresh = create(description);
      if (node) node.replaceWith(fresh);
      else parent.append(fresh);
      node = fresh.nextSibling;
    }
  }
  while (node) {
    const next = node.nextSibling;
    node.remove();
    node = next;
  }
}

function isSame(node, description) {
  if (typeof description === "string") return node.nodeType === Node.TEXT_NODE;
  if (description.make) return node.madeBy === description.key;
  return node.localName === description.tag && node.className === (description.class ?? "");
}

function update(node, description) {
  if (typeof description === "string") updateText(node, description);
  else if (!description.make) {
    for (const [name, value] of Object.entries(description.attributes ?? {})) {
      if (node.getAttribute(name) !== value) node.setAttribute(name, value);
    }
    patchChildren(node, description.children);
  }
}

/** Changes a text node; growing text is appended, which leaves a selection in it alone. */
export function updateText(node, text) {
  if (node.data === text) return;
  if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else node.data = text;
}

function create(description) {
  if (typeof description === "string") return document.createTextNode(description);
  if (description.make) return Object.assign(description.make(), { madeBy: description.key });
  const node = document.createElement(description.tag);
  if (description.class) node.className = description.class;
  update(node, description);
  return node;
}
