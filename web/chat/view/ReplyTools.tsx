/** What can be done with a finished reply. */
import type { Message } from "../data/message";
import type { Thread } from "../data/thread";
import { CopyButton } from "./CopyButton";
import { Icon } from "./icons";
import { useAttempt } from "./view";
import { Versions } from "./Versions";

export function ReplyTools({ thread, message }: { thread: Thread; message: Message }) {
  const attempt = useAttempt();
  return (
    <>
      <Versions thread={thread} message={message} label="Versions of the reply" />
      {message.readText() !== "" && <CopyButton label="Copy the reply" text={() => message.readText()} />}
      <button
        type="button"
        class="quiet small"
        aria-label="Write the reply anew"
        title="Write anew"
        disabled={thread.running.value !== null}
        onClick={() => void attempt(() => thread.regenerate(message))}
      >
        <Icon name="again" />
      </button>
      <RateButton thread={thread} message={message} rating="UP" />
      <RateButton thread={thread} message={message} rating="DOWN" />
      {message.model.value && <span class="model">{message.model.value}</span>}
    </>
  );
}

const RATINGS = {
  UP: { label: "Good reply", icon: "thumbsUp" },
  DOWN: { label: "Bad reply", icon: "thumbsDown" },
} as const;

interface RateButtonProps {
  thread: Thread;
  message: Message;
  rating: "UP" | "DOWN";
}

function RateButton({ thread, message, rating }: RateButtonProps) {
  const attempt = useAttempt();
  const isGiven = message.rating.value === rating;
  const { label, icon } = RATINGS[rating];
  return (
    <button
      type="button"
      class="quiet small"
      aria-label={label}
      aria-pressed={isGiven}
      title={label}
      onClick={() => void attempt(() => thread.rate(message, isGiven ? null : rating))}
    >
      <Icon name={icon} />
    </button>
  );
}
