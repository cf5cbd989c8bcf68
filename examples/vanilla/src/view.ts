import type { Message } from "../../shared/messages";
import type { Unsent } from "../../shared/outbox";

type Part = Message["parts"][number];

/** Makes an element show a message; what of it has not changed stays as it is. */
export function drawMessage(
  element: HTMLElement,
  message: Message,
  resolve: (callId: string, approve: boolean) => void,
) {
  element.className = "message";
  Object.assign(element.dataset, { id: message.id, role: message.role, status: message.status });
  message.parts.forEach((part, index) => {
    const before = element.children[index];
    if (part.__typename !== "ToolCallPart" && before?.className === classOf(part))
      before.textContent = part.text;
    else if (before) before.replaceWith(createPart(part, resolve));
    else element.append(createPart(part, resolve));
  });
  while (element.children.length > message.parts.length) element.lastElementChild?.remove();
  if (message.error) element.append(create("div", "note problem", message.error.message));
  if (message.status === "STOPPED") element.append(create("div", "note", "Stopped"));
}

/** An element for a message that has no place on the server yet. */
export function createUnsent({ text, problem }: Unsent, retry: () => void): HTMLElement {
  const element = create("article", "message unsent", "", create("div", "text", text));
  element.dataset.role = "USER";
  const state = problem
    ? create("div", "note problem", `Not sent: ${problem}`)
    : create("div", "note", "Sending…");
  if (problem) state.append(createButton("Retry", retry));
  element.append(state);
  return element;
}

export function createButton(label: string, onClick: () => void): HTMLButtonElement {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  button.onclick = onClick;
  return button;
}

function createPart(part: Part, resolve: (callId: string, approve: boolean) => void): HTMLElement {
  if (part.__typename !== "ToolCallPart") return create("div", classOf(part), part.text);
  const element = create(
    "div",
    classOf(part),
    `${part.tool}: ${part.status.toLowerCase().replace("_", " ")}`,
  );
  if (part.status === "AWAITING_APPROVAL") {
    element.append(
      createButton("Approve", () => resolve(part.id, true)),
      createButton("Deny", () => resolve(part.id, false)),
    );
  }
  return element;
}

function classOf({ __typename }: Part): string {
  return { TextPart: "text", ReasoningPart: "thought", ToolCallPart: "tool" }[__typename];
}

function create(tag: string, className: string, text: string, ...children: Node[]): HTMLElement {
  const element = document.createElement(tag);
  element.className = className;
  element.append(text, ...children);
  return element;
}
