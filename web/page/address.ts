/** The address names the open conversation: `#/` and its id. */
import { effect } from "@preact/signals";
import type { Chat } from "../chat/data/chat";

/** The address of a conversation (null: of a new one) on this page. */
export function addressOf(id: string | null): string {
  return `#/${encodeURIComponent(id ?? "")}`;
}

/** Opens what the address names, now and whenever it changes; a conversation that begins gets its address. */
export function followAddress(chat: Chat): void {
  const open = () => {
    const id = idInAddress();
    if (id !== chat.thread.peek().id.peek()) chat.open(id);
  };
  open();
  addEventListener("hashchange", open);
  let shown = chat.thread.peek();
  effect(() => {
    const thread = chat.thread.value;
    const id = thread.id.value;
    const title = thread.title.value;
    document.title = id ? `${title ?? "New conversation"} · Loquent` : "Loquent";
    // A conversation that begins is not a step that the back button would have to take, another one is.
    const isStep = thread !== shown;
    shown = thread;
    if (id === idInAddress()) return;
    if (isStep) history.pushState(null, "", addressOf(id));
    else history.replaceState(null, "", addressOf(id));
  });
}

function idInAddress(): string | null {
  const [, id] = /^#\/(.+)/.exec(location.hash) ?? [];
  try {
    return id === undefined ? null : decodeURIComponent(id);
  } catch {
    return null;
  }
}
