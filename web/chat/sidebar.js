/** The list of conversations: newest activity first, renamed and deleted in place, a drawer on small screens. */
import { byId, element, icon } from "./dom.js";
import { CONVERSATIONS, DELETE, RENAME } from "./operations.js";

const DAY_MS = 86_400_000;
const WIDE = matchMedia("(min-width: 720px)");

export class Sidebar {
  #conversations = [];
  #endCursor = null;
  #current = null;
  #chosen = null;
  #list = byId("list");

  /** `handlers`: `onNew()`, `onRenamed(conversation)` (here or elsewhere), `onDeleted(id)`, `onProblem(text)`. */
  constructor(ask, handlers) {
    this.ask = ask;
    this.handlers = handlers;
    byId("new").onclick = () => {
      this.#close();
      handlers.onNew();
    };
    byId("menu").onclick = () => this.#open();
    byId("shade").onclick = () => this.#close();
    byId("sidebar").onkeydown = (event) => {
      if (event.key === "Escape") this.#close();
    };
    byId("actions").ontoggle = () => this.#render();
    byId("rename").onclick = () => this.#rename();
    byId("delete").onclick = () => this.#delete();
    WIDE.onchange = () => this.#close();
  }

  /** Reads the first page again. */
  async refresh() {
    const { conversations } = await this.ask(CONVERSATIONS);
    this.#conversations = conversations.edges.map((edge) => edge.node);
    this.#endCursor = conversations.pageInfo.hasNextPage ? conversations.pageInfo.endCursor : null;
    this.#render();
    this.#conversations.filter(({ id }) => id === this.#current).forEach(this.handlers.onRenamed);
  }

  /** Marks the open conversation (null: a new one). */
  select(id) {
    this.#current = id;
    this.#render();
    this.#close();
  }

  async #more() {
    const after = this.#endCursor;
    this.#endCursor = null;
    this.#render();
    try {
      const { conversations } = await this.ask(CONVERSATIONS, { after });
      this.#conversations.push(...conversations.edges.map((edge) => edge.node));
      this.#endCursor = conversations.pageInfo.hasNextPage ? conversations.pageInfo.endCursor : null;
    } catch (error) {
      this.#endCursor = after;
      this.handlers.onProblem(error.message);
    }
    this.#render();
  }

  #render() {
    if (this.#list.querySelector("input") || byId("actions").matches(":popover-open")) return;
    const groups = Map.groupBy(this.#conversations, (conversation) => ageOf(conversation.updatedAt));
    const nodes = [...groups].map(([age, members]) => this.#group(age, members));
    if (nodes.length === 0) nodes.push(element("p", { class: "list-empty" }, "Nothing here yet."));
    const older = { type: "button", class: "more", onclick: () => this.#more() };
    if (this.#endCursor) nodes.push(element("button", older, "Older"));
    const focused = document.activeElement?.closest(".item")?.dataset.id;
    this.#list.replaceChildren(...nodes);
    if (focused) this.#list.querySelector(`[data-id="${CSS.escape(focused)}"] a`)?.focus();
  }

  #group(age, members) {
    const items = members.map((conversation) => this.#item(conversation));
    return element("section", {}, element("h2", {}, age), element("ul", {}, ...items));
  }

  #item(conversation) {
    const title = conversation.title ?? "New conversation";
    const current = conversation.id === this.#current && "page";
    const link = element("a", { href: addressOf(conversation.id), dir: "auto", "aria-current": current }, title);
    link.onclick = () => this.#close();
    const label = `Rename or delete ${title}`;
    const more = element("button", { type: "button", class: "quiet", "aria-label": label }, icon("more"));
    more.popoverTargetElement = byId("actions");
    more.onclick = () => {
      this.#chosen = conversation;
    };
    return element("li", { class: "item", "data-id": conversation.id }, link, more);
  }

  #rename() {
    const conversation = this.#chosen;
    byId("actions").hidePopover();
    const item = this.#list.querySelector(`[data-id="${CSS.escape(conversation.id)}"]`);
    const input = element("input", { "aria-label": "New title", maxlength: "200", dir: "auto" });
    input.value = conversation.title ?? "";
    const finish = (isWanted) => {
      input.onblur = null;
      item.replaceChildren();
      const title = input.value.trim();
      if (isWanted && title && title !== conversation.title) this.#saveTitle(conversation, title);
      this.#render();
    };
    input.onblur = () => finish(true);
    input.onkeydown = (event) => {
      event.stopPropagation();
      if (event.key === "Enter" && !event.isComposing) finish(true);
      if (event.key === "Escape") finish(false);
    };
    item.replaceChildren(input);
    input.select();
  }

  async #saveTitle(conversation, title) {
    const before = conversation.title;
    conversation.title = title;
    try {
      await this.ask(RENAME, { input: { id: conversation.id, title } });
      this.handlers.onRenamed(conversation);
    } catch (error) {
      conversation.title = before;
      this.handlers.onProblem(`It could not be renamed. ${error.message}`);
    }
    this.#render();
  }

  #delete() {
    const conversation = this.#chosen;
    byId("actions").hidePopover();
    const dialog = byId("confirm");
    byId("confirm-name").textContent = conversation.title ?? "New conversation";
    dialog.returnValue = "keep";
    dialog.onclose = () => {
      if (dialog.returnValue === "delete") this.#deleteNow(conversation);
    };
    dialog.showModal();
  }

  async #deleteNow(conversation) {
    try {
      await this.ask(DELETE, { input: { id: conversation.id } });
      this.#conversations = this.#conversations.filter((known) => known.id !== conversation.id);
      this.#render();
      this.handlers.onDeleted(conversation.id);
    } catch (error) {
      this.handlers.onProblem(`It could not be deleted. ${error.message}`);
    }
  }

  #open() {
    document.body.classList.add("drawer");
    byId("menu").setAttribute("aria-expanded", "true");
    byId("main").inert = true;
    byId("new").focus();
  }

  #close() {
    if (!document.body.classList.contains("drawer")) return;
    document.body.classList.remove("drawer");
    byId("menu").setAttribute("aria-expanded", "false");
    byId("main").inert = false;
    byId("menu").focus();
  }
}

/** The address of a conversation (null: of a new one) on this page. */
export function addressOf(id) {
  return `#/${encodeURIComponent(id ?? "")}`;
}

/** The conversation that the page's address names, or null. */
export function idInAddress() {
  return decodeURIComponent(location.hash.slice(2)) || null;
}

function ageOf(time) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  const age = midnight - Date.parse(time);
  if (age <= 0) return "Today";
  if (age <= DAY_MS) return "Yesterday";
  return age <= 7 * DAY_MS ? "Past week" : "Earlier";
}
