/** One chat: a header if the host gives one, the open thread, and the composer. */
import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Chat } from "../data/chat";
import { messageOf } from "../data/errors";
import type { Highlight } from "../markdown/markdown";
import { Composer } from "./Composer";
import { followTurns, StatusLine } from "./status";
import { ThreadView } from "./ThreadView";
import { TEXTS, type Texts, type View, ViewContext } from "./view";

export interface ChatPanelProps {
  chat: Chat;
  /** Above the thread, inside the panel: its components may call `useView()`. */
  header?: ComponentChildren;
  texts?: Partial<Texts>;
  /** Loads the colouring of code; without it code stays plain. */
  highlight?: () => Promise<Highlight>;
  /** Whether a thread that opens takes the focus, which a guest on somebody else's page must not. */
  takesFocus?: boolean;
}

export function ChatPanel({ chat, header, texts, highlight, takesFocus = true }: ChatPanelProps) {
  const draft = useRef<HTMLTextAreaElement>(null);
  const view = useMemo<View>(
    () => ({
      chat,
      texts: { ...TEXTS, ...texts },
      status: new StatusLine(),
      draft,
      highlight,
      takesFocus,
      titles: new Map(),
      versionToFocus: null,
    }),
    [chat, texts, highlight, takesFocus],
  );
  const thread = chat.thread.value;
  useEffect(() => {
    view.status.clear();
    return followTurns(thread, view.status);
  }, [thread, view]);
  const stop = () => {
    thread.stop().catch((error: unknown) => view.status.sayProblem(messageOf(error)));
    draft.current?.focus({ preventScroll: true });
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || event.isComposing || thread.running.peek() === null) return;
    // Not also a sign to close what the panel is in.
    event.preventDefault();
    event.stopPropagation();
    stop();
  };
  return (
    <ViewContext.Provider value={view}>
      <section class="panel" part="chat" onKeyDown={onKeyDown}>
        {header}
        <ThreadView key={thread} thread={thread} />
        <Composer thread={thread} onStop={stop} />
      </section>
    </ViewContext.Provider>
  );
}
