/** The parts of a message on the page: text, reasoning, tool call. Each has a `node` and `update(part, state)`. */
import { element, icon, setText } from "./dom.js";
import { MarkdownView } from "./markdown.js";
import { updateText } from "./patch.js";

const CALL_STATUS = {
  RUNNING: "Running",
  AWAITING_APPROVAL: "Needs your approval",
  SUCCEEDED: "Done",
  FAILED: "Failed",
  DENIED: "Denied",
  INTERRUPTED: "Interrupted",
};

/** The view of a part of this type; `onResolve(approve)` answers a tool call that waits, and says whether it could. */
export function createPart(type, onResolve) {
  if (type === "TextPart") return new TextPart();
  if (type === "ReasoningPart") return new ReasoningPart();
  return new ToolCallPart(onResolve);
}

class TextPart {
  node = element("div", { class: "text" });
  #markdown = new MarkdownView(this.node);

  update(part, { growing }) {
    this.#markdown.update(part.text, growing);
  }
}

class ReasoningPart {
  #label = element("span", {}, "Reasoning");
  #text = document.createTextNode("");
  node = element(
    "details",
    { class: "reasoning" },
    element("summary", {}, icon("fold"), this.#label),
    element("div", { class: "reasoning-text", dir: "auto" }, this.#text),
  );

  update(part, { growing }) {
    setText(this.#label, growing ? "Thinking…" : "Reasoning");
    this.node.classList.toggle("working", growing);
    updateText(this.#text, part.text);
  }
}

class ToolCallPart {
  #name = element("code", { class: "call-name" });
  #gist = element("span", { class: "call-gist", dir: "auto" });
  #status = element("span", { class: "call-status" });
  #parameters = element("pre", { dir: "ltr", tabindex: "0" });
  #result = element("pre", { dir: "ltr", tabindex: "0" });
  #resultBlock = element("div", { class: "call-field" }, element("p", {}, "Result"), this.#result);
  #shown = null;

  constructor(onResolve) {
    const answer = (approve) => async () => {
      this.#setWaiting(true);
      if (!(await onResolve(approve))) this.#setWaiting(false);
    };
    this.approval = element(
      "div",
      { class: "call-approval" },
      element("button", { type: "button", class: "primary", onclick: answer(true) }, "Approve"),
      element("button", { type: "button", onclick: answer(false) }, "Deny"),
    );
    this.details = element(
      "details",
      { class: "call" },
      element("summary", {}, icon("fold"), this.#name, this.#gist, this.#status),
      element("div", { class: "call-field" }, element("p", {}, "Parameters"), this.#parameters),
      this.#resultBlock,
    );
    this.node = element("div", { class: "call-box" }, this.details, this.approval);
  }

  update(call) {
    const shown = JSON.stringify(call);
    if (shown === this.#shown) return;
    this.#shown = shown;
    const awaits = call.status === "AWAITING_APPROVAL";
    this.node.dataset.status = call.status;
    this.#name.textContent = call.tool;
    this.#gist.textContent = gistOf(call.parameters);
    this.#status.textContent = CALL_STATUS[call.status] ?? call.status;
    this.#parameters.textContent = JSON.stringify(call.parameters, null, 2);
    this.#result.textContent = JSON.stringify(call.result, null, 2);
    this.#resultBlock.hidden = call.result == null;
    this.approval.hidden = !awaits;
    if (awaits) this.details.open = true;
  }

  #setWaiting(isWaiting) {
    for (const button of this.approval.children) button.disabled = isWaiting;
  }
}

/** The first words among the parameters: enough to tell one call from another while it is folded. */
function gistOf(parameters) {
  const values = Object.values(parameters ?? {}).flatMap((value) =>
    value !== null && typeof value === "object" ? Object.values(value) : [value],
  );
  return values.find((value) => typeof value === "string") ?? "";
}
