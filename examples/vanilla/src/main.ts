import "../../shared/style.css";

import {
  type ConversationsQuery,
  ConversationsDocument,
  ResolveDocument,
  StopDocument,
} from "../../generated/strings/graphql";
import { isRunning, type Message } from "../../shared/messages";
import { missing } from "../../shared/outbox";
import { ask } from "./client";
import { Conversation } from "./conversation";
import { Outbox } from "./outbox";
import { createButton, createUnsent, drawMessage } from "./view";

const sidebar = document.querySelector("nav div")!;
const transcript = document.querySelector<HTMLElement>(".messages")!;
const composer = document.querySelector("form")!;
const draft = composer.querySelector("textarea")!;
const sendButton = composer.querySelector<HTMLButtonElement>("[type=submit]")!;
const stopButton = composer.querySelector<HTMLButtonElement>("[type=button]")!;

let conversations: ConversationsQuery["conversations"]["edges"][number]["node"][] = [];
let conversation: Conversation | null = null;
const elements = new Map<string, HTMLElement>();

const outbox = new Outbox(drawUnsent, (entry, sent) => {
  if (entry.conversationId === null) begin(sent.conversation);
  if (conversation?.id !== sent.conversation.id) return;
  conversation.add(sent.message);
  conversation.add(sent.reply);
});

/** Shows a conversation that has just begun: no need to load it. */
function begin(begun: { id: string; title: string | null; cursor: string }): void {
  conversations.unshift(begun);
  if (conversation === null) show(begun.id)?.follow(begun.cursor);
  drawSidebar();
}

/** Opens a conversation, or, by null, an empty page. */
function open(id: string | null): void {
  const shown = show(id);
  shown?.load().catch((error) => shown === conversation && complain(error));
}

function show(id: string | null): Conversation | null {
  conversation?.close();
  conversation = id === null ? null : new Conversation(id, drawReply, (title) => rename(id, title));
  history.replaceState(null, "", `#${id ?? ""}`);
  elements.clear();
  transcript.replaceChildren();
  drawSidebar();
  drawUnsent();
  draft.focus();
  return conversation;
}

function rename(id: string, title: string | null): void {
  conversations = conversations.map((entry) => (entry.id === id ? { ...entry, title } : entry));
  drawSidebar();
}

function drawReply(message: Message): void {
  const known = elements.get(message.id);
  const element = known ?? document.createElement("article");
  drawMessage(element, message, (toolCallId, approve) => {
    void ask(ResolveDocument, { input: { messageId: message.id, toolCallId, approve } });
  });
  if (known === undefined) {
    elements.set(message.id, element);
    transcript.append(element);
    drawUnsent();
  }
  drawComposer();
}

function drawUnsent(): void {
  for (const element of transcript.querySelectorAll(".unsent")) element.remove();
  const here = outbox.unsent.filter(({ conversationId }) => conversationId === (conversation?.id ?? null));
  for (const entry of missing(here, conversation?.messages ?? [])) {
    transcript.append(createUnsent(entry, () => void outbox.attempt(entry)));
  }
  drawComposer();
}

function drawComposer(): void {
  const running = conversation?.messages.find(isRunning);
  sendButton.hidden = running !== undefined;
  stopButton.hidden = running === undefined;
  stopButton.onclick = () => running && void ask(StopDocument, { id: running.id });
}

function drawSidebar(): void {
  const links = conversations.map(({ id, title }) => {
    const button = createButton(title ?? "Untitled", () => open(id));
    button.ariaCurrent = String(id === conversation?.id);
    return button;
  });
  sidebar.replaceChildren(
    createButton("New conversation", () => open(null)),
    ...links,
  );
}

composer.onsubmit = (event) => {
  event.preventDefault();
  if (draft.value.trim() === "") return;
  void outbox.send(draft.value, conversation?.id ?? null, conversation?.messages.length ?? 0);
  draft.value = "";
};

draft.onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!sendButton.hidden) composer.requestSubmit();
};

function complain(error: Error): void {
  transcript.textContent = error.message;
}

open(location.hash.slice(1) || null);
ask(ConversationsDocument, {}).then((data) => {
  conversations = data.conversations.edges.map(({ node }) => node);
  drawSidebar();
}, complain);
