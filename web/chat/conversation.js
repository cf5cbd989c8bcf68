/**
 * The open conversation: its messages in order, what is on its way, and the streams that keep it current.
 * It knows no DOM; `onChange(event)` tells the page that something is different.
 */
import { ServerError, Unauthenticated } from "./api.js";
import * as operations from "./operations.js";
import { addUnsent, createKey, removeUnsent, unsent } from "./outbox.js";
import { followReply, isFinished, isRunning } from "./reply.js";

const RETRY_MS = 1_500;

export class Conversation {
  title = null;
  messages = [];
  earlier = null;
  isLoading = false;
  isSending = false;
  problem = null;
  #cursor = null;
  #following = new Map();
  #unsubscribe = null;
  #late = [];
  #closed = false;

  /** `server`: { ask(query, variables), socket }. `id`: null for one that the first message will begin. */
  constructor(server, id, onChange) {
    this.server = server;
    this.id = id;
    this.notify = (event = {}) => onChange(this.#closed ? { type: "elsewhere" } : event);
  }

  get unsent() {
    return unsent(this.id);
  }

  get runningReply() {
    return this.messages.findLast(isRunning) ?? null;
  }

  close() {
    this.#closed = true;
    this.#unsubscribe?.();
    for (const stop of this.#following.values()) stop();
  }

  /** Reads the newest messages, and follows what goes on from exactly that state. */
  async load() {
    this.isLoading = true;
    this.problem = null;
    this.notify();
    try {
      const { conversation } = await this.server.ask(operations.CONVERSATION, { id: this.id });
      if (this.#closed) return;
      if (!conversation) throw new ServerError("This conversation does not exist.", "NOT_FOUND");
      this.#show(conversation);
    } catch (error) {
      this.problem = error.message;
    }
    this.isLoading = false;
    this.notify({ type: "loaded" });
  }

  async loadEarlier() {
    const before = this.earlier;
    this.earlier = null;
    try {
      const { conversation } = await this.server.ask(operations.CONVERSATION, { id: this.id, before });
      this.#takePage(conversation.messages);
    } catch (error) {
      this.earlier = before;
      throw error;
    } finally {
      this.notify();
    }
  }

  async send(text) {
    await this.sendAgain(addUnsent(this.id, text));
  }

  /** Sends an unconfirmed message (again) under its own key. */
  async sendAgain(entry) {
    entry.problem = null;
    this.isSending = true;
    this.notify({ type: "sending" });
    const input = { text: entry.text, idempotencyKey: entry.key };
    if (entry.conversationId) input.conversationId = entry.conversationId;
    try {
      const { sendMessage } = await this.server.ask(operations.SEND, { input });
      removeUnsent(entry);
      this.#takeSent({ ...sendMessage, message: { ...sendMessage.message, key: entry.key } });
    } catch (error) {
      entry.problem = error instanceof Unauthenticated ? "The server refused the token." : error.message;
    }
    this.isSending = false;
    this.#takeLate();
    this.notify({ type: entry.problem ? "notSent" : "sent" });
  }

  discard(entry) {
    removeUnsent(entry);
    this.notify();
  }

  /** Asks for a new reply in the place of one that failed or was stopped. */
  async regenerate(message) {
    message.retryKey ??= createKey();
    const input = { messageId: message.id, idempotencyKey: message.retryKey };
    const { regenerateMessage } = await this.server.ask(operations.REGENERATE, { input });
    this.#add(regenerateMessage.reply);
    this.notify({ type: "sent" });
  }

  /** Stops the running reply: at once on the page, then on the server, whose last words are still taken in. */
  async stop() {
    const message = this.runningReply;
    if (!message) return;
    message.isStopping = true;
    this.notify({ type: "stopped" });
    try {
      const { stopMessage } = await this.server.ask(operations.STOP, { input: { messageId: message.id } });
      this.#change(stopMessage.message);
    } catch (error) {
      message.isStopping = false;
      this.notify({ type: "problem", text: `The reply could not be stopped. ${error.message}` });
    }
    this.notify();
  }

  async resolve(message, toolCall, approve) {
    const input = { messageId: message.id, toolCallId: toolCall.id, approve };
    await this.server.ask(operations.RESOLVE_TOOL_CALL, { input });
  }

  #show(conversation) {
    this.title = conversation.title;
    this.#cursor = conversation.cursor;
    this.messages.splice(0).forEach((message) => this.#unfollow(message));
    this.#takePage(conversation.messages);
    this.messages.forEach((message) => isFinished(message) || this.#follow(message));
    this.#subscribe();
  }

  #takePage({ edges, pageInfo }) {
    this.messages.unshift(...edges.map((edge) => edge.node));
    this.earlier = pageInfo.hasPreviousPage ? pageInfo.startCursor : null;
  }

  #takeSent({ conversation, message, reply }) {
    if (this.#closed) return;
    if (this.id === null) {
      this.id = conversation.id;
      this.title = conversation.title;
      this.#cursor = conversation.cursor;
      this.#subscribe();
      this.notify({ type: "begun" });
    }
    this.#add(message);
    this.#add(reply);
  }

  /** Puts a message behind its parent; what stood there before was another branch. */
  #add(message) {
    if (this.#closed || this.messages.some((known) => known.id === message.id)) return;
    const parent = this.messages.findIndex((known) => known.id === message.parent?.id);
    if (message.parent && parent < 0) {
      this.load();
      return;
    }
    this.messages.splice(parent + 1).forEach((dropped) => this.#unfollow(dropped));
    this.messages.push(message);
    if (!isFinished(message)) this.#follow(message);
  }

  #follow(message) {
    const onEvent = (event) => {
      if (!isFinished(message)) return this.notify({ type: "written", message, event });
      this.#unfollow(message);
      return this.notify({ type: "finished", message });
    };
    this.#following.set(message.id, followReply(this.server, message, onEvent));
  }

  #unfollow(message) {
    this.#following.get(message.id)?.();
    this.#following.delete(message.id);
  }

  #subscribe() {
    this.#unsubscribe?.();
    const variables = () => ({ id: this.id, after: this.#cursor });
    const next = ({ conversationStream: event }) => {
      this.#cursor = event.cursor;
      this.#late.push(event);
      if (!this.isSending) this.#takeLate();
    };
    const end = (errors) => {
      if (errors.length === 0) setTimeout(() => this.#closed || this.#subscribe(), RETRY_MS);
    };
    this.#unsubscribe = this.server.socket.subscribe(operations.CONVERSATION_STREAM, variables, { next, end });
  }

  /** What other tabs and the server did; it waits while a send is on its way, whose answer may bring the same. */
  #takeLate() {
    for (const event of this.#late.splice(0)) {
      if (event.__typename === "MessageAdded") this.#add(event.message);
      else if (event.__typename === "MessageChanged") this.#change(event.message);
      else if (event.__typename === "ConversationChanged") this.title = event.conversation.title;
      this.notify({ type: event.__typename });
    }
  }

  /** A followed reply hears of itself from its own stream, and a finished one does not run again. */
  #change(message) {
    const known = this.messages.find((candidate) => candidate.id === message.id);
    if (!known || this.#following.has(known.id) || !isFinished(message)) return;
    Object.assign(known, message);
  }
}
