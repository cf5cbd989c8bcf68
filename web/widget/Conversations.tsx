/** Earlier conversations, below a button: it closes when one is chosen, when the focus goes, and by Escape. */
import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { Chat } from "../chat/data/chat";
import type { Summary } from "../chat/data/conversations";
import { Icon } from "../chat/view/icons";
import { useAttempt, useView } from "../chat/view/view";

export function Conversations({ chat }: { chat: Chat }) {
  const { draft } = useView();
  const isOpen = useSignal(false);
  const button = useRef<HTMLButtonElement>(null);
  const choose = (id: string) => {
    isOpen.value = false;
    chat.open(id);
    draft.current?.focus({ preventScroll: true });
  };
  const onFocusOut = (event: FocusEvent & { currentTarget: HTMLElement }) => {
    if (!event.currentTarget.contains(event.relatedTarget as Node | null)) isOpen.value = false;
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || !isOpen.peek()) return;
    // Not also the panel.
    event.preventDefault();
    event.stopPropagation();
    isOpen.value = false;
    button.current?.focus({ preventScroll: true });
  };
  return (
    // Focusable, since some browsers focus no button that is clicked, but what it stands in.
    <div class="conversations" tabIndex={-1} onFocusOut={onFocusOut} onKeyDown={onKeyDown}>
      <button
        type="button"
        class="quiet"
        ref={button}
        aria-label="Earlier conversations"
        title="Earlier conversations"
        aria-expanded={isOpen.value}
        onClick={() => (isOpen.value = !isOpen.value)}
      >
        <Icon name="clock" />
      </button>
      {isOpen.value && <List chat={chat} onChoose={choose} />}
    </div>
  );
}

function List({ chat, onChoose }: { chat: Chat; onChoose(id: string): void }) {
  const attempt = useAttempt();
  const { items, state, problem, hasMore } = chat.conversations;
  const current = chat.thread.value.id.value;
  return (
    <nav class="list" part="conversations" aria-label="Earlier conversations">
      {items.value.length === 0 && <p>{describe(state.value, problem.value)}</p>}
      <ul>
        {items.value.map((summary) => (
          <li key={summary.id}>
            <button
              type="button"
              class="quiet"
              aria-current={summary.id === current ? "true" : undefined}
              onClick={() => onChoose(summary.id)}
            >
              <span dir="auto">{summary.title ?? "New conversation"}</span>
              <Time summary={summary} />
            </button>
          </li>
        ))}
      </ul>
      {hasMore.value && (
        <button type="button" class="quiet" onClick={() => void attempt(() => chat.conversations.loadMore())}>
          More
        </button>
      )}
    </nav>
  );
}

function Time({ summary }: { summary: Summary }) {
  const time = new Date(summary.updatedAt);
  const isToday = time.toDateString() === new Date().toDateString();
  const text = isToday
    ? time.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" })
    : time.toLocaleDateString(undefined, { day: "numeric", month: "short" });
  return <time dateTime={summary.updatedAt}>{text}</time>;
}

function describe(state: string, problem: string | null): string {
  if (state === "failed") return problem ?? "The conversations could not be read.";
  return state === "ready" ? "There are none yet." : "Loading…";
}
