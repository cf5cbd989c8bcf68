/** The launcher, and the panel that it opens. */
import type { ReadonlySignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { Focus } from "./focus";
import { Launcher } from "./Launcher";
import type { Look } from "./look";
import { Panel } from "./Panel";
import type { Session } from "./session";

export interface WidgetProps {
  look: ReadonlySignal<Look | null>;
  /** Null until the chat is first used. */
  session: ReadonlySignal<Session | null>;
  isOpen: ReadonlySignal<boolean>;
  /** A reply has ended while the panel was closed. */
  hasNews: ReadonlySignal<boolean>;
  focus: Focus;
  onOpen(): void;
  onClose(): void;
}

export function Widget(props: WidgetProps) {
  const look = props.look.value;
  const session = props.session.value;
  const isOpen = props.isOpen.value;
  const launcher = useRef<HTMLButtonElement>(null);
  if (!look) return null;
  return (
    <section class={`widget ${look.position} ${look.scheme}`} aria-label={look.heading}>
      <Launcher
        look={look}
        isHidden={isOpen}
        hasNews={props.hasNews.value}
        button={launcher}
        onClick={props.onOpen}
      />
      {session && (
        <Panel
          key={session}
          chat={session.chat}
          look={look}
          isOpen={isOpen}
          focus={props.focus}
          launcher={launcher}
          onClose={props.onClose}
        />
      )}
    </section>
  );
}
