/** The way to earlier messages: read when the reader comes near, and by the button after a failure. */
import { useSignal } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Thread } from "../data/thread";
import { useAttempt } from "./view";

const AHEAD = "600px 0px 0px";

export interface EarlierMessagesProps {
  thread: Thread;
  scroller: RefObject<HTMLElement | null>;
}

export function EarlierMessages({ thread, scroller }: EarlierMessagesProps) {
  const attempt = useAttempt();
  const button = useRef<HTMLButtonElement>(null);
  const isReading = useSignal(false);
  const hasEarlier = thread.hasEarlier.value;
  const first = thread.messages.value[0];
  const read = async () => {
    if (isReading.peek()) return true;
    isReading.value = true;
    const succeeded = await attempt(() => thread.loadEarlier());
    isReading.value = false;
    return succeeded;
  };
  useEffect(() => {
    if (!button.current) return undefined;
    const observer = new IntersectionObserver(
      async ([entry]) => {
        if (entry?.isIntersecting && !(await read())) observer.disconnect();
      },
      { root: scroller.current, rootMargin: AHEAD },
    );
    observer.observe(button.current);
    return () => observer.disconnect();
  }, [hasEarlier, first]);
  if (!hasEarlier) return null;
  return (
    <div class="lead">
      <button type="button" class="quiet small" ref={button} onClick={() => void read()}>
        {isReading.value ? "Loading…" : "Earlier messages"}
      </button>
    </div>
  );
}
