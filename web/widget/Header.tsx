/** What stands over the chat: its name, how the connection is, and the ways to other conversations and out. */
import type { Chat } from "../chat/data/chat";
import { Connection } from "../chat/view/Connection";
import { Icon } from "../chat/view/icons";
import { useView } from "../chat/view/view";
import { Conversations } from "./Conversations";

export interface HeaderProps {
  chat: Chat;
  heading: string;
  onClose(): void;
}

export function Header({ chat, heading, onClose }: HeaderProps) {
  const { draft } = useView();
  const begin = () => {
    chat.open(null);
    draft.current?.focus({ preventScroll: true });
  };
  return (
    <header class="header" part="header">
      <h2 class="heading" part="heading">
        <bdi>{heading}</bdi>
      </h2>
      <Connection chat={chat} role="status" />
      <Conversations chat={chat} />
      <button
        type="button"
        class="quiet"
        aria-label="New conversation"
        title="New conversation"
        onClick={begin}
      >
        <Icon name="plus" />
      </button>
      <button
        type="button"
        class="quiet"
        part="close"
        aria-label="Close"
        title="Close (Esc)"
        onClick={onClose}
      >
        <Icon name="close" />
      </button>
    </header>
  );
}
