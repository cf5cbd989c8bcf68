/** What became of a reply that did not come to its end: never in the reply's own voice. */
import type { Message } from "../data/message";
import type { Thread } from "../data/thread";
import { Icon } from "./icons";
import { useAttempt } from "./view";

export function ReplyNote({ thread, message }: { thread: Thread; message: Message }) {
  const attempt = useAttempt();
  const status = message.status.value;
  const error = message.error.value;
  if (status === "COMPLETE" && !error) return null;
  const retry = () => void attempt(() => thread.regenerate(message));
  if (status === "FAILED" || error) {
    return (
      <div class="note failure" part="error">
        <p>
          <Icon name="alert" />
          <span dir="auto">{error?.message ?? "The reply failed."}</span>
        </p>
        {error?.retryable !== false && <RetryButton thread={thread} onClick={retry} />}
      </div>
    );
  }
  return (
    <div class="note">
      <p dir="auto">Stopped</p>
    </div>
  );
}

function RetryButton({ thread, onClick }: { thread: Thread; onClick(): void }) {
  return (
    <button type="button" class="small" disabled={thread.running.value !== null} onClick={onClick}>
      <Icon name="again" />
      Try again
    </button>
  );
}
