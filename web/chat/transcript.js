/** The messages on the page. Nodes are kept from one rendering to the next; only what differs is touched. */
import { copyButton, element, icon, labelledButton, setText } from "./dom.js";
import { createPart } from "./parts.js";
import { isRunning } from "./reply.js";

const NEAR_END_PX = 60;

export class Transcript {
  #views = new Map();

  /** `actions`: { regenerate(message), resolve(message, call, approve), sendAgain(entry), discard(entry) }. */
  constructor(root, actions) {
    this.root = root;
    this.actions = actions;
  }

  /** Forgets everything shown: another conversation is opened. */
  clear() {
    this.#views.clear();
    this.root.replaceChildren();
  }

  /** Shows these messages and, behind them, these unconfirmed entries; `lead` are nodes above them all. */
  render(messages, entries, lead) {
    const nodes = [...messages, ...entries].map((message) => {
      const view = this.#viewOf(message);
      view.update(message);
      return view.node;
    });
    this.#arrange([...lead, ...nodes]);
  }

  /** A message keeps the view that it had while it was on its way. */
  #viewOf(message) {
    const key = message.key ?? message.id;
    if (!this.#views.has(key)) {
      const isReply = message.role === "ASSISTANT";
      this.#views.set(key, isReply ? new ReplyView(this.actions) : new UserView(message, this.actions));
    }
    return this.#views.get(key);
  }

  #arrange(nodes) {
    const wanted = new Set(nodes);
    for (const node of [...this.root.children]) if (!wanted.has(node)) node.remove();
    nodes.forEach((node, index) => {
      if (this.root.children[index] !== node) this.root.insertBefore(node, this.root.children[index] ?? null);
    });
  }
}

/** What the user said: a stored message, or one on its way, which may fail. */
class UserView {
  #problem = element("div", { class: "not-sent" });
  #shownProblem = null;

  constructor({ text }, actions) {
    this.actions = actions;
    const said = element("div", { class: "said", dir: "auto" }, text);
    this.node = element("article", { class: "turn user", "aria-label": "You" }, said, this.#problem);
  }

  update(entry) {
    const problem = entry.problem ?? null;
    this.node.dataset.sending = entry.id ? "done" : problem ? "failed" : "now";
    if (problem === this.#shownProblem) return;
    this.#shownProblem = problem;
    this.#problem.replaceChildren(...(problem ? this.#problemOf(entry) : []));
  }

  #problemOf(entry) {
    const words = element("span", {}, element("strong", {}, "Not sent. "), entry.problem);
    return [
      element("p", {}, icon("alert"), words),
      labelledButton("again", "Retry", () => this.actions.sendAgain(entry)),
      element("button", { type: "button", onclick: () => this.actions.discard(entry) }, "Discard"),
    ];
  }
}

class ReplyView {
  #parts = [];
  #body = element("div", { class: "parts" });
  #pulse = element("p", { class: "pulse", "aria-label": "Writing" }, element("span"), element("span"), element("span"));
  #note = element("div", { class: "note" });
  #model = element("span", { class: "model" });
  #message = null;
  #shownNote = "";

  constructor(actions) {
    this.actions = actions;
    const copy = copyButton("Copy the reply", () => this.#message.text);
    this.tools = element("div", { class: "tools" }, copy, this.#model);
    const label = { class: "turn reply", "aria-label": "Loquent" };
    this.node = element("article", label, this.#body, this.#pulse, this.#note, this.tools);
  }

  update(message) {
    this.#message = message;
    const running = isRunning(message);
    this.#updateParts(message, running);
    this.#pulse.hidden = !running || isAlive(message);
    this.#updateNote(message, running);
    this.tools.hidden = message.status !== "COMPLETE" || !message.text;
    setText(this.#model, message.model ?? "");
    this.node.setAttribute("aria-busy", String(running));
  }

  #updateParts(message, running) {
    while (this.#parts.length > message.parts.length) this.#parts.pop().node.remove();
    message.parts.forEach((part, index) => {
      const view = this.#viewAt(index, part.__typename);
      view.update(part, { growing: running && index === message.parts.length - 1 });
    });
  }

  #viewAt(index, type) {
    const known = this.#parts[index];
    if (known?.type === type) return known;
    const resolve = (approve) => this.actions.resolve(this.#message, this.#message.parts[index], approve);
    const view = Object.assign(createPart(type, resolve), { type });
    if (known) known.node.replaceWith(view.node);
    else this.#body.append(view.node);
    this.#parts[index] = view;
    return view;
  }

  #updateNote(message, running) {
    const shown = running ? "" : `${message.status} ${message.error?.message}`;
    if (shown === this.#shownNote) return;
    this.#shownNote = shown;
    this.#note.replaceChildren(...(running ? [] : this.#noteFor(message)));
  }

  #noteFor(message) {
    const again = labelledButton("again", "Try again", () => this.actions.regenerate(message));
    if (message.status === "FAILED") {
      const text = message.error?.message ?? "The reply failed.";
      const words = element("p", {}, icon("alert"), element("span", {}, text));
      this.#note.className = "note failure";
      return message.error?.retryable === false ? [words] : [words, again];
    }
    this.#note.className = "note";
    return message.status === "COMPLETE" ? [] : [element("p", {}, "Stopped"), again];
  }
}

/** Something on the page already shows that the reply goes on: growing text, or a tool call at work. */
function isAlive(message) {
  const last = message.parts.at(-1);
  return last !== undefined && (last.__typename !== "ToolCallPart" || /RUNNING|AWAITING/.test(last.status));
}

/**
 * Keeps the reader's place. The column is reversed, so its end is its origin: at the end it stays at the end by
 * itself, and elsewhere the browser's scroll anchoring holds the place, or, where it is missing, this does.
 */
export function keepPlace(thread, turns, jump) {
  const showJump = () => (jump.hidden = thread.scrollTop > -NEAR_END_PX);
  thread.addEventListener("scroll", showJump, { passive: true });
  const goToEnd = () => {
    thread.scrollTop = 0;
    thread.focus({ preventScroll: true });
  };
  jump.addEventListener("click", goToEnd);
  // The browser's own way to the end takes a while, in which the end moves on.
  thread.addEventListener("keydown", (event) => {
    if (event.key !== "End" || event.target !== thread) return;
    event.preventDefault();
    goToEnd();
  });
  if (CSS.supports("overflow-anchor", "auto")) return;
  let height = turns.offsetHeight;
  new ResizeObserver(() => {
    const grown = turns.offsetHeight - height;
    height += grown;
    if (thread.scrollTop < -NEAR_END_PX) thread.scrollTop -= grown;
  }).observe(turns);
}
