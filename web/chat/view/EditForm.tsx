/** A message of the user, to be changed in place: Enter sends the new version, Escape keeps the old one. */
import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Message } from "../data/message";
import type { Thread } from "../data/thread";
import { GrowingTextarea } from "./GrowingTextarea";
import { useAttempt, useView } from "./view";

export interface EditFormProps {
  thread: Thread;
  message: Message;
  onEnd(isCancelled: boolean): void;
}

export function EditForm({ thread, message, onEnd }: EditFormProps) {
  const { draft } = useView();
  const attempt = useAttempt();
  const field = useRef<HTMLTextAreaElement>(null);
  const text = useSignal(message.readText());
  const isSending = useSignal(false);
  useLayoutEffect(() => {
    field.current?.focus();
    field.current?.setSelectionRange(text.peek().length, text.peek().length);
  }, []);
  const send = async () => {
    const said = text.peek().trim();
    if (said === "" || isSending.peek()) return;
    isSending.value = true;
    if (await attempt(() => thread.edit(message, said))) {
      onEnd(false);
      draft.current?.focus({ preventScroll: true });
    }
    isSending.value = false;
  };
  const cancel = () => onEnd(true);
  const onSubmit = (event: SubmitEvent) => {
    event.preventDefault();
    void send();
  };
  return (
    <form class="edit" onSubmit={onSubmit}>
      <GrowingTextarea
        text={text}
        field={field}
        label="Your message"
        onSubmit={() => void send()}
        onEscape={cancel}
      />
      <div class="buttons">
        <button type="button" class="small" onClick={cancel}>
          Cancel
        </button>
        <button type="submit" class="small primary" disabled={text.value.trim() === "" || isSending.value}>
          Send
        </button>
      </div>
    </form>
  );
}
