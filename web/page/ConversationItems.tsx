/** The list of conversations by age; more of them are read when its end comes near. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Chat } from "../chat/data/chat";
import type { Summary } from "../chat/data/conversations";
import { messageOf } from "../chat/data/errors";
import { ConfirmDialog } from "./ConfirmDialog";
import { ConversationItem } from "./ConversationItem";
import { ConversationMenu } from "./ConversationMenu";
import { groupByAge } from "./days";

export interface ConversationItemsProps {
  chat: Chat;
  onProblem(text: string): void;
}

export function ConversationItems({ chat, onProblem }: ConversationItemsProps) {
  const list = chat.conversations;
  const menu = useRef<HTMLDivElement>(null);
  const chosen = useSignal<Summary | null>(null);
  const renamed = useSignal<string | null>(null);
  const doomed = useSignal<Summary | null>(null);
  const current = chat.thread.value.id.value;
  const attempt = async (action: Promise<unknown>) => {
    onProblem("");
    await action.catch((error: unknown) => onProblem(messageOf(error)));
  };
  const remove = async ({ id }: Summary) => {
    await attempt(list.remove(id));
    const isRemoved = !list.items.peek().some((item) => item.id === id);
    if (isRemoved && id === chat.thread.peek().id.peek()) chat.open(null);
  };
  return (
    <>
      {groupByAge(list.items.value).map(({ age, items }) => (
        <section key={age}>
          <h3>{age}</h3>
          <ul>
            {items.map((item) => (
              <ConversationItem
                key={item.id}
                conversation={item}
                isCurrent={item.id === current}
                isRenaming={item.id === renamed.value}
                menu={menu}
                onChoose={() => (chosen.value = item)}
                onRename={(title) => void attempt(list.rename(item.id, title))}
                onRenamed={() => (renamed.value = null)}
              />
            ))}
          </ul>
        </section>
      ))}
      <ListEnd chat={chat} onProblem={onProblem} />
      <ConversationMenu
        menu={menu}
        isArchived={chosen.value?.archivedAt != null}
        onRename={() => (renamed.value = chosen.peek()?.id ?? null)}
        onArchive={(archived) => chosen.value && void attempt(list.archive(chosen.value.id, archived))}
        onDelete={() => (doomed.value = chosen.peek())}
      />
      {doomed.value && (
        <ConfirmDialog
          title="Delete this conversation?"
          name={doomed.value.title ?? "New conversation"}
          onConfirm={() => doomed.value && void remove(doomed.value)}
          onClose={() => (doomed.value = null)}
        />
      )}
    </>
  );
}

/** What stands below the list: more of it, that it is being read, that there is nothing, or why not. */
function ListEnd({ chat, onProblem }: ConversationItemsProps) {
  const list = chat.conversations;
  const end = useRef<HTMLButtonElement>(null);
  const count = list.items.value.length;
  const hasMore = list.hasMore.value;
  const read = () => list.loadMore().catch((error: unknown) => onProblem(messageOf(error)));
  useEffect(() => {
    if (!end.current) return undefined;
    const observer = new IntersectionObserver(([entry]) => void (entry?.isIntersecting && read()), {
      rootMargin: "200px",
    });
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [hasMore, count]);
  if (list.state.value === "failed") {
    return (
      <div class="list-state" role="alert">
        <p>The conversations could not be read.</p>
        <button type="button" class="small" onClick={() => list.refresh()}>
          Try again
        </button>
      </div>
    );
  }
  if (list.state.value === "loading" && count === 0) return <ListSkeleton />;
  if (hasMore) {
    return (
      <button type="button" class="quiet more" ref={end} onClick={() => void read()}>
        More
      </button>
    );
  }
  if (count > 0) return null;
  if (list.search.value.trim()) return <p class="list-state">Nothing found.</p>;
  return <p class="list-state">{list.archived.value ? "The archive is empty." : "No conversations yet."}</p>;
}

function ListSkeleton() {
  return (
    <div class="skeleton" role="img" aria-label="Loading">
      {Array.from({ length: 6 }, (_, index) => (
        <span key={index} />
      ))}
    </div>
  );
}
