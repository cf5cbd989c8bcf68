/** The chat in a dialog: beside the page where there is room, over all of it where there is not. */
import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Chat } from "../chat/data/chat";
import { ChatPanel } from "../chat/view/ChatPanel";
import { AccessNotice } from "./AccessNotice";
import { findFocus, type Focus } from "./focus";
import { Header } from "./Header";
import type { Look } from "./look";
import { holdSheet, useSheetSized } from "./sheet";

export interface PanelProps {
  chat: Chat;
  look: Look;
  isOpen: boolean;
  focus: Focus;
  launcher: RefObject<HTMLButtonElement | null>;
  onClose(): void;
}

export function Panel({ chat, look, isOpen, focus, launcher, onClose }: PanelProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const lastShown = useRef<{ focused: HTMLElement | null } | null>(null);
  const isSheet = useSheetSized();
  useLayoutEffect(() => {
    const element = dialog.current;
    const last = lastShown.current;
    lastShown.current = null;
    if (!element) return undefined;
    if (!isOpen) {
      if (last?.focused) focus.leave(launcher.current);
      return undefined;
    }
    // `show()` would take the focus, whether it is wanted or not.
    if (isSheet) element.showModal();
    else element.open = true;
    last?.focused?.focus({ preventScroll: true });
    focus.enter(element);
    const release = isSheet ? holdSheet(element) : () => undefined;
    return () => {
      lastShown.current = { focused: findFocus(element) };
      release();
      element.close();
    };
  }, [isOpen, isSheet]);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || event.isComposing || event.defaultPrevented) return;
    event.preventDefault();
    onClose();
  };
  const onCancel = (event: Event) => {
    event.preventDefault();
    onClose();
  };
  return (
    <dialog
      class={isSheet ? "frame sheet" : "frame"}
      part="panel"
      ref={dialog}
      tabIndex={-1}
      aria-label={look.heading}
      onKeyDown={onKeyDown}
      onCancel={onCancel}
    >
      <ChatPanel
        chat={chat}
        texts={look.texts}
        takesFocus={false}
        header={
          <>
            <Header chat={chat} heading={look.heading} onClose={onClose} />
            <AccessNotice chat={chat} />
          </>
        }
      />
    </dialog>
  );
}
