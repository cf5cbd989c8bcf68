/** Leafs through the versions of a message: “‹ 2/3 ›”. */
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Message } from "../data/message";
import type { Thread } from "../data/thread";
import { Icon } from "./icons";
import { useAttempt, useView } from "./view";

export function Versions({ thread, message, label }: { thread: Thread; message: Message; label: string }) {
  const view = useView();
  const attempt = useAttempt();
  const group = useRef<HTMLDivElement>(null);
  const versions = message.versions.value;
  const index = versions.indexOf(message.id);
  useLayoutEffect(() => {
    if (view.versionToFocus?.id !== message.id) return;
    const { button } = view.versionToFocus;
    view.versionToFocus = null;
    const wanted = group.current?.querySelector<HTMLElement>(`.${button}:enabled`);
    (wanted ?? group.current?.querySelector<HTMLElement>("button:enabled"))?.focus({ preventScroll: true });
  });
  if (versions.length < 2 || index < 0) return null;
  const show = (step: -1 | 1) => {
    const id = versions[index + step];
    if (id === undefined) return;
    view.versionToFocus = { id, button: step < 0 ? "earlier" : "later" };
    void attempt(() => thread.showVersion(message, id));
  };
  return (
    <div class="versions" role="group" aria-label={label} ref={group}>
      <button
        type="button"
        class="quiet small earlier"
        aria-label="Earlier version"
        disabled={index === 0}
        onClick={() => show(-1)}
      >
        <Icon name="earlier" />
      </button>
      <span>
        {index + 1}/{versions.length}
      </span>
      <button
        type="button"
        class="quiet small later"
        aria-label="Later version"
        disabled={index === versions.length - 1}
        onClick={() => show(1)}
      >
        <Icon name="later" />
      </button>
    </div>
  );
}
