/** What the user said: a message, or an entry on its way. The node stays when the one becomes the other. */
import { useSignal } from "@preact/signals";
import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Message } from "../data/message";
import type { Unsent } from "../data/outbox";
import type { Thread } from "../data/thread";
import { CopyButton } from "./CopyButton";
import { EditForm } from "./EditForm";
import { Icon } from "./icons";
import { useAttempt } from "./view";
import { Versions } from "./Versions";

export interface UserTurnProps {
  thread: Thread;
  message?: Message;
  entry?: Unsent;
}

export function UserTurn({ thread, message, entry }: UserTurnProps) {
  const isEditing = useSignal(false);
  const state = entry?.state.value ?? "sent";
  const text = message?.readText() ?? entry?.text ?? "";
  const editButton = useRef<HTMLButtonElement>(null);
  const wasCancelled = useRef(false);
  const endEdit = (isCancelled: boolean) => {
    wasCancelled.current = isCancelled;
    isEditing.value = false;
  };
  useLayoutEffect(() => {
    if (wasCancelled.current) editButton.current?.focus({ preventScroll: true });
    wasCancelled.current = false;
  }, [isEditing.value]);
  return (
    <article class={`turn user ${state}`} part="message user">
      <h2 class="unseen">You said</h2>
      {isEditing.value && message ? (
        <EditForm thread={thread} message={message} onEnd={endEdit} />
      ) : (
        <div class="said" dir="auto">
          {text}
        </div>
      )}
      {message && !isEditing.value && (
        <UserTools
          thread={thread}
          message={message}
          editButton={editButton}
          onEdit={() => (isEditing.value = true)}
        />
      )}
      {entry && state === "failed" && <NotSent thread={thread} entry={entry} />}
    </article>
  );
}

interface UserToolsProps {
  thread: Thread;
  message: Message;
  editButton: RefObject<HTMLButtonElement | null>;
  onEdit(): void;
}

function UserTools({ thread, message, editButton, onEdit }: UserToolsProps) {
  return (
    <div class="tools">
      <Versions thread={thread} message={message} label="Versions of your message" />
      <CopyButton label="Copy your message" text={() => message.readText()} />
      <button
        type="button"
        class="quiet small"
        ref={editButton}
        aria-label="Edit your message"
        title="Edit"
        disabled={thread.running.value !== null}
        onClick={onEdit}
      >
        <Icon name="edit" />
      </button>
    </div>
  );
}

function NotSent({ thread, entry }: { thread: Thread; entry: Unsent }) {
  const attempt = useAttempt();
  return (
    <div class="not-sent">
      <p role="alert">
        <Icon name="alert" />
        <span dir="auto">
          <strong>Not sent.</strong> {entry.problem.value}
        </span>
      </p>
      <button type="button" class="small" onClick={() => void attempt(() => thread.retry(entry))}>
        <Icon name="again" />
        Retry
      </button>
      <button type="button" class="small" onClick={() => thread.discard(entry)}>
        Discard
      </button>
    </div>
  );
}
