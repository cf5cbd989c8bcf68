/** The conversations: search, a new one, the list by age, and the archive. */
import { useSignal } from "@preact/signals";
import type { Chat } from "../chat/data/chat";
import { Icon, Mark } from "../chat/view/icons";
import { ConversationItems } from "./ConversationItems";
import { hasRoomForSidebar } from "./media";
import { isDrawerOpen } from "./panes";

export function Sidebar({ chat }: { chat: Chat }) {
  const { conversations } = chat;
  const problem = useSignal("");
  const archived = conversations.archived.value;
  const begin = () => {
    isDrawerOpen.value = false;
    chat.open(null);
  };
  return (
    <>
      <div class="brand">
        <Mark size={24} />
        <span>Loquent</span>
        {!hasRoomForSidebar.value && (
          <button type="button" class="quiet" aria-label="Close" onClick={() => (isDrawerOpen.value = false)}>
            <Icon name="close" />
          </button>
        )}
      </div>
      <div class="sidebar-top">
        <button type="button" class="begin" onClick={begin}>
          <Icon name="plus" />
          New conversation
        </button>
        <label class="search">
          <span class="unseen">Search conversations</span>
          <Icon name="search" />
          <input
            type="search"
            class="field"
            placeholder="Search"
            dir="auto"
            value={conversations.search.value}
            onInput={(event) => (conversations.search.value = event.currentTarget.value)}
          />
        </label>
      </div>
      {problem.value && (
        <p class="pane-problem" role="alert">
          {problem.value}
        </p>
      )}
      <nav
        class="list"
        aria-label={archived ? "Archived conversations" : "Conversations, newest activity first"}
      >
        <h2 class={archived ? "list-title" : "unseen"}>{archived ? "Archived" : "Conversations"}</h2>
        <ConversationItems chat={chat} onProblem={(text) => (problem.value = text)} />
      </nav>
      <div class="sidebar-foot">
        <button
          type="button"
          class="quiet"
          aria-pressed={archived}
          onClick={() => (conversations.archived.value = !archived)}
        >
          <Icon name={archived ? "earlier" : "archive"} />
          {archived ? "All conversations" : "Archived"}
        </button>
      </div>
    </>
  );
}
