/** The page: conversations, thread and to-do list side by side, as far as there is room. */
import type { Chat } from "../chat/data/chat";
import { ChatPanel } from "../chat/view/ChatPanel";
import { AccessDialog } from "./AccessDialog";
import { Header } from "./Header";
import { Pane } from "./Pane";
import { hasRoomForSidebar, hasRoomForTasks } from "./media";
import { isDrawerOpen, isSheetOpen, isTaskPaneOpen } from "./panes";
import { Sidebar } from "./Sidebar";
import { SkipLink } from "./SkipLink";
import { TaskPanel } from "./TaskPanel";

const highlight = async () => (await import("../chat/markdown/highlight")).highlight;

export function App({ chat }: { chat: Chat }) {
  return (
    <div class="app">
      <SkipLink />
      <Pane side="start" label="Conversations" isFixed={hasRoomForSidebar.value} isOpen={isDrawerOpen}>
        <Sidebar chat={chat} />
      </Pane>
      <main id="main">
        <ChatPanel chat={chat} header={<Header chat={chat} />} highlight={highlight} />
      </main>
      {(isTaskPaneOpen.value || !hasRoomForTasks.value) && (
        <Pane side="end" label="To-do list" isFixed={hasRoomForTasks.value} isOpen={isSheetOpen}>
          <TaskPanel list={chat.tasks} />
        </Pane>
      )}
      <AccessDialog chat={chat} />
    </div>
  );
}
