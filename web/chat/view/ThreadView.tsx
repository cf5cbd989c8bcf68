/** The messages of one thread, in a column that stays at its end while text comes in. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Thread } from "../data/thread";
import { EarlierMessages } from "./EarlierMessages";
import { Greeting } from "./Greeting";
import { Icon } from "./icons";
import { Reply } from "./Reply";
import { goToEnd, keepPlace, NEAR_END_PX } from "./place";
import { UserTurn } from "./UserTurn";
import { useView } from "./view";

export function ThreadView({ thread }: { thread: Thread }) {
  const { texts } = useView();
  const scroller = useRef<HTMLDivElement>(null);
  const turns = useRef<HTMLDivElement>(null);
  const isAway = useSignal(false);
  useEffect(() => {
    if (!scroller.current || !turns.current) return undefined;
    return keepPlace(scroller.current, turns.current);
  }, []);
  const isGone = thread.state.value === "gone";
  const messages = isGone ? [] : thread.messages.value;
  const unsent = thread.unsent.value;
  // What is sent is seen, wherever the reader was.
  const newest = unsent.at(-1)?.key;
  useEffect(() => {
    if (newest !== undefined && scroller.current) scroller.current.scrollTop = 0;
  }, [newest]);
  // One list, in which an entry that was sent keeps its node as a message.
  const items = [
    ...messages.map((message) =>
      message.role === "USER" ? (
        <UserTurn key={message.key} thread={thread} message={message} />
      ) : (
        <Reply key={message.key} thread={thread} message={message} name={texts.name} />
      ),
    ),
    ...unsent.map((entry) => <UserTurn key={entry.key} thread={thread} entry={entry} />),
  ];
  const isEmpty = isGone || messages.length + unsent.length === 0;
  const showEnd = () => scroller.current && goToEnd(scroller.current);
  const onKeyDown = (event: KeyboardEvent) => {
    // The browser's own way to the end takes a while, in which the end moves on.
    if (event.key !== "End" || isWriting(event)) return;
    event.preventDefault();
    showEnd();
  };
  return (
    <div class="stage" onKeyDown={onKeyDown}>
      <div
        class="thread"
        part="thread"
        ref={scroller}
        tabIndex={0}
        role="log"
        aria-label="Messages"
        aria-live="off"
        aria-busy={thread.state.value === "loading"}
        onScroll={(event) => (isAway.value = event.currentTarget.scrollTop < -NEAR_END_PX)}
      >
        <div class="turns" ref={turns}>
          {isEmpty ? (
            <EmptyThread thread={thread} />
          ) : (
            <EarlierMessages thread={thread} scroller={scroller} />
          )}
          {items}
        </div>
      </div>
      {isAway.value && <Jump isGrowing={thread.running.value !== null} onClick={showEnd} />}
    </div>
  );
}

function Jump({ isGrowing, onClick }: { isGrowing: boolean; onClick(): void }) {
  return (
    <button type="button" class={isGrowing ? "jump fresh" : "jump"} part="jump" onClick={onClick}>
      <Icon name="down" />
      <span class={isGrowing ? "" : "unseen"}>{isGrowing ? "New text" : "Newest message"}</span>
    </button>
  );
}

/** What stands where there are no messages: a greeting, bars while they are read, or why there are none. */
function EmptyThread({ thread }: { thread: Thread }) {
  const { chat } = useView();
  switch (thread.state.value) {
    case "failed":
      return (
        <div class="state" role="alert">
          <p>{thread.problem.value ?? "The conversation could not be read."}</p>
          <button type="button" onClick={() => void thread.load()}>
            Try again
          </button>
        </div>
      );
    case "gone":
      return (
        <div class="state">
          <p>{thread.problem.value ?? "This conversation does not exist any more."}</p>
          <button type="button" onClick={() => chat.open(null)}>
            New conversation
          </button>
        </div>
      );
    case "loading":
      return (
        <div class="skeleton" role="img" aria-label="Loading">
          {Array.from({ length: 7 }, (_, index) => (
            <span key={index} />
          ))}
        </div>
      );
    default:
      return <Greeting thread={thread} />;
  }
}

function isWriting(event: KeyboardEvent): boolean {
  const [target] = event.composedPath();
  return target instanceof HTMLTextAreaElement || target instanceof HTMLInputElement;
}
