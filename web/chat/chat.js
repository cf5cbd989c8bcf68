/** The chat page: joins the list, the open conversation and the composer. */
import { askForToken, knownToken } from "./access.js";
import { request, Unauthenticated } from "./api.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { byId, element, oncePerFrame } from "./dom.js";
import { addressOf, idInAddress, Sidebar } from "./sidebar.js";
import { Socket } from "./socket.js";
import { keepPlace, Transcript } from "./transcript.js";

const SUGGESTIONS = ["What is on my to-do list?", "Add “Water the plants” to my list", "What can you do?"];

class Page {
  constructor(token) {
    this.token = token;
    const ask = (query, variables) => this.#ask(query, variables);
    const socket = new Socket(token, {
      onConnected: (isConnected) => this.#showConnection(isConnected),
      onRefused: () => this.#askForToken(),
    });
    this.server = { ask, socket };
    this.sidebar = new Sidebar(ask, {
      onNew: () => {
        this.#goTo(null);
        this.composer.focus();
      },
      onRenamed: ({ id, title }) => {
        if (id === this.conversation.id) this.conversation.title = title;
        this.render();
      },
      onDeleted: (id) => {
        if (id === this.conversation.id) this.#goTo(null);
      },
      onProblem: (text) => this.#say(text),
    });
    this.composer = new Composer({
      onSend: (text) => {
        byId("thread").scrollTop = 0;
        this.conversation.send(text);
      },
      onStop: () => this.conversation.stop(),
    });
    this.transcript = new Transcript(byId("turns"), {
      regenerate: (message) => this.#try(this.conversation.regenerate(message)),
      resolve: (message, call, approve) => this.#try(this.conversation.resolve(message, call, approve)),
      sendAgain: (entry) => this.conversation.sendAgain(entry),
      discard: (entry) => this.conversation.discard(entry),
    });
    this.render = oncePerFrame(() => this.#render());
    keepPlace(byId("thread"), byId("turns"), byId("jump"));
    addEventListener("hashchange", () => {
      if (idInAddress() !== this.conversation.id) this.#open(idInAddress());
    });
    addEventListener("focus", () => this.#refreshList());
  }

  start() {
    byId("app").hidden = false;
    this.#refreshList();
    this.#open(idInAddress());
  }

  #open(id) {
    this.conversation?.close();
    this.conversation = new Conversation(this.server, id, (event) => this.#hear(event));
    this.transcript.clear();
    this.sidebar.select(id);
    if (id !== null) this.conversation.load();
    this.#render();
    byId("thread").scrollTop = 0;
    this.#say("");
    if (matchMedia("(pointer: fine)").matches) this.composer.focus();
  }

  #goTo(id) {
    if (idInAddress() === id) this.#open(id);
    else location.hash = addressOf(id);
  }

  /** What happened in the open conversation. */
  #hear(event) {
    if (event.type === "begun") {
      history.replaceState(null, "", addressOf(this.conversation.id));
      this.sidebar.select(this.conversation.id);
    }
    if (event.type === "ConversationDeleted") return this.#goTo(null);
    if (["sent", "finished", "ConversationChanged", "elsewhere"].includes(event.type)) this.#refreshList();
    if (event.type === "loaded" && this.conversation.runningReply)
      this.#say(isWaiting(this.conversation.runningReply) ? SAYINGS.waits : SAYINGS.sent);
    else if (event.type === "finished") this.#sayFinished(event.message);
    else if (event.type === "written") this.#say(isWaiting(event.message) ? SAYINGS.waits : SAYINGS.sent);
    else if (event.type in SAYINGS) this.#say(SAYINGS[event.type]);
    else if (event.type === "problem") this.#say(event.text);
    return this.render();
  }

  #render() {
    const { conversation } = this;
    const title = conversation.title ?? "New conversation";
    byId("title").textContent = title;
    document.title = conversation.id ? `${title} · Loquent` : "Loquent";
    this.transcript.render(conversation.messages, conversation.unsent, this.#lead());
    this.composer.setState(conversation.isSending ? "sending" : conversation.runningReply ? "replying" : "idle");
  }

  /** What stands above the messages: a greeting, a way to earlier messages, or why there are none. */
  #lead() {
    const { conversation } = this;
    if (conversation.problem) return [this.#problem()];
    if (conversation.messages.length + conversation.unsent.length === 0) {
      return conversation.id === null ? [this.#greeting()] : [element("p", { class: "lead" }, "Loading…")];
    }
    if (!conversation.earlier) return [];
    const earlier = () => this.#try(conversation.loadEarlier());
    return [element("button", { type: "button", class: "more lead", onclick: earlier }, "Earlier messages")];
  }

  #greeting() {
    const write = (text) => () => this.composer.write(text);
    const buttons = SUGGESTIONS.map((text) => element("button", { type: "button", onclick: write(text) }, text));
    const question = element("h2", {}, "What shall we talk about?");
    return element("section", { class: "greeting" }, question, element("div", { class: "suggestions" }, ...buttons));
  }

  #problem() {
    const again = element("button", { type: "button", onclick: () => this.conversation.load() }, "Try again");
    return element("section", { class: "lead failure" }, element("p", {}, this.conversation.problem), again);
  }

  async #ask(query, variables) {
    try {
      return await request(this.token, query, variables);
    } catch (error) {
      if (error instanceof Unauthenticated) this.#askForToken();
      throw error;
    }
  }

  async #askForToken() {
    if (byId("app").hidden) return;
    this.token = await askForToken("Your token is not valid any more. Reload the page, or enter another one.");
    this.server.socket.token = this.token;
    this.start();
  }

  /** Whether an action of the user succeeded; says why it did not. */
  async #try(action) {
    try {
      await action;
      return true;
    } catch (error) {
      this.#say(error.message);
      return false;
    }
  }

  #refreshList() {
    this.sidebar.refresh().catch((error) => this.#say(error.message));
  }

  #showConnection(isConnected) {
    byId("connection").hidden = isConnected;
  }

  #say(text) {
    // Writing the same text again would have it read out again.
    if (byId("status").textContent !== text) byId("status").textContent = text;
  }

  /** The finished reply is read out once, by screen readers only: it is on the page already. */
  #sayFinished(message) {
    const words = { COMPLETE: "", STOPPED: "Stopped.", FAILED: "The reply failed." }[message.status];
    const answer = message.status === "COMPLETE" ? message.text : "";
    byId("status").replaceChildren(words, element("span", { class: "unseen" }, answer));
  }
}

const isWaiting = (message) => message.status === "AWAITING_APPROVAL";

const SAYINGS = {
  sending: "Sending…",
  sent: "Writing…",
  waits: "Waiting for your approval.",
  notSent: "The message was not sent.",
  stopped: "Stopped.",
};

new Page(knownToken() ?? (await askForToken())).start();
