/** Where the user writes. Send and stop share one place: there is something to send, or something to stop. */
import { useEffect } from "preact/hooks";
import type { Thread } from "../data/thread";
import { GrowingTextarea } from "./GrowingTextarea";
import { Icon } from "./icons";
import { ModelPicker } from "./ModelPicker";
import { useAttempt, useView } from "./view";

/** Characters, as in the contract; the count is shown when this few are left. */
const LONGEST = 32_000;
const NEAR_LONGEST = 1_000;

export function Composer({ thread, onStop }: { thread: Thread; onStop(): void }) {
  const { chat, texts, draft, takesFocus } = useView();
  const attempt = useAttempt();
  useEffect(() => {
    if (takesFocus) focusUnlessBusy(draft.current);
  }, [thread]);
  const left = countLeft(thread.draft.value);
  const running = thread.running.value !== null;
  const isSending = thread.unsent.value.some((entry) => entry.state.value === "sending");
  const isGone = thread.state.value === "gone";
  const maySend = !running && !isSending && !isGone && left >= 0 && thread.draft.value.trim() !== "";
  const send = () => {
    const text = thread.draft.peek().trim();
    if (!maySend || text === "") return;
    thread.draft.value = "";
    void attempt(() => thread.send(text));
  };
  const onSubmit = (event: SubmitEvent) => {
    event.preventDefault();
    send();
    draft.current?.focus({ preventScroll: true });
  };
  const hasModels = chat.models.value.length > 1;
  return (
    <div class="foot" part="foot">
      <form
        class={hasModels ? "composer with-models" : "composer"}
        part="composer"
        onSubmit={onSubmit}
        onClick={(event) => event.target === event.currentTarget && draft.current?.focus()}
      >
        <GrowingTextarea
          text={thread.draft}
          field={draft}
          label="Message"
          placeholder={texts.placeholder}
          onSubmit={send}
        />
        {hasModels && <ModelPicker thread={thread} />}
        {running ? (
          // A double click on send must not stop what it has just begun.
          <button
            key="stop"
            type="button"
            class="send stop"
            part="send"
            aria-label="Stop the reply"
            title="Stop (Esc)"
            onClick={(event) => event.detail < 2 && onStop()}
          >
            <Icon name="stop" />
          </button>
        ) : (
          <button key="send" type="submit" class="send" part="send" aria-label="Send" disabled={!maySend}>
            <Icon name="send" />
          </button>
        )}
      </form>
      <div class="status">
        <StatusText />
        {left < NEAR_LONGEST && (
          <p dir="auto" class={left < 0 ? "over" : ""}>
            {describeLeft(left)}
          </p>
        )}
      </div>
    </div>
  );
}

function StatusText() {
  const { text, aside, isProblem } = useView().status.current.value;
  return (
    <p role="status" aria-live="polite" dir="auto" class={isProblem ? "problem" : ""} part="status">
      {text}
      {aside && <span class="unseen"> {aside}</span>}
    </p>
  );
}

/** Takes the focus where there is a keyboard, unless the user is writing somewhere else. */
function focusUnlessBusy(field: HTMLTextAreaElement | null): void {
  const root = field?.getRootNode() as Document | ShadowRoot | undefined;
  const isBusy = root?.activeElement?.matches("input, textarea, select");
  if (!isBusy && matchMedia("(pointer: fine)").matches) field?.focus({ preventScroll: true });
}

/** The server counts code points, of which there are at least half as many as code units. */
function countLeft(text: string): number {
  return LONGEST - (text.length > LONGEST - NEAR_LONGEST ? [...text].length : text.length);
}

function describeLeft(left: number): string {
  const count = Math.abs(left).toLocaleString();
  return left < 0 ? `${count} characters too many` : `${count} characters left`;
}
