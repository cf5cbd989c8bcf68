/** The one line that is read out: what a turn does, and at its end the answer, once. */
import { effect, signal, untracked } from "@preact/signals";
import type { Message } from "../data/message";
import type { Thread } from "../data/thread";

/** `text` is seen and read out, `aside` only read out. */
export interface Status {
  text: string;
  aside: string;
  isProblem: boolean;
}

const NOTHING: Status = { text: "", aside: "", isProblem: false };

export class StatusLine {
  readonly current = signal(NOTHING);

  say(text: string, aside = ""): void {
    this.current.value = { text, aside, isProblem: false };
  }

  sayProblem(text: string): void {
    this.current.value = { text, aside: "", isProblem: true };
  }

  clear(): void {
    this.current.value = NOTHING;
  }
}

/** Says what the turns of a thread do, at most three times each; returns the function that ends it. */
export function followTurns(thread: Thread, line: StatusLine): () => void {
  let last: Message | null = null;
  let hasWaited = false;
  return effect(() => {
    const running = thread.running.value;
    const waits = running?.status.value === "AWAITING_APPROVAL";
    untracked(() => {
      if (running !== last) hasWaited = false;
      if (waits) line.say("Waiting for your approval.");
      else if (running && hasWaited) line.clear();
      else if (running && running !== last) line.say("Generating…");
      else if (!running && last) sayFinished(last, line);
      hasWaited ||= waits;
      last = running;
    });
  });
}

function sayFinished(reply: Message, line: StatusLine): void {
  const status = reply.status.value;
  if (status === "COMPLETE") line.say("", reply.readText());
  else if (status === "FAILED") line.say("The reply failed.", reply.error.value?.message);
  else line.say("Stopped.");
}
