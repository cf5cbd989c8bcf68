/** What stands above the thread: its title, how the connection is, and the switches of the page. */
import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { Chat } from "../chat/data/chat";
import { Connection } from "../chat/view/Connection";
import { Icon } from "../chat/view/icons";
import { useAttempt } from "../chat/view/view";
import { hasRoomForSidebar } from "./media";
import { isDrawerOpen, isTaskPaneOpen, toggleTasks } from "./panes";
import { ThemeButton } from "./ThemeButton";
import { TitleField, useFocusAfter } from "./TitleField";

export function Header({ chat }: { chat: Chat }) {
  const open = chat.tasks.items.value.filter((task) => !task.done).length;
  return (
    <header class="header" part="header">
      {!hasRoomForSidebar.value && (
        <button
          type="button"
          class="quiet"
          aria-label="Conversations"
          aria-haspopup="dialog"
          onClick={() => (isDrawerOpen.value = true)}
        >
          <Icon name="menu" />
        </button>
      )}
      <Title key={chat.thread.value} chat={chat} />
      {chat.thread.value.archivedAt.value && <p class="archived">Archived</p>}
      <Connection chat={chat} />
      <ThemeButton />
      <button
        type="button"
        class="quiet tasks-toggle"
        aria-label={open > 0 ? `To-do list, ${open} open` : "To-do list"}
        title="To-do list"
        aria-expanded={isTaskPaneOpen.value}
        onClick={toggleTasks}
      >
        <Icon name="tasks" />
        {open > 0 && <span aria-hidden="true">{open}</span>}
      </button>
    </header>
  );
}

/** The title of one conversation, which can be renamed by a click on it once it is stored. */
function Title({ chat }: { chat: Chat }) {
  const attempt = useAttempt();
  const isEditing = useSignal(false);
  const button = useRef<HTMLButtonElement>(null);
  useFocusAfter(isEditing.value, button);
  const thread = chat.thread.value;
  const id = thread.id.value;
  const title = thread.title.value ?? "New conversation";
  if (id !== null && isEditing.value) {
    return (
      <TitleField
        title={thread.title.value ?? ""}
        onRename={(name) => void attempt(() => chat.conversations.rename(id, name))}
        onEnd={() => (isEditing.value = false)}
      />
    );
  }
  return (
    <h1 class="title" dir="auto">
      {id === null ? (
        title
      ) : (
        <button
          type="button"
          class="quiet"
          ref={button}
          title="Rename"
          onClick={() => (isEditing.value = true)}
        >
          <span>{title}</span>
        </button>
      )}
    </h1>
  );
}
