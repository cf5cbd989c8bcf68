/** One conversation in the list: a link, a button for its menu, or its title to be changed. */
import type { RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Summary } from "../chat/data/conversations";
import { Icon } from "../chat/view/icons";
import { addressOf } from "./address";
import { isDrawerOpen } from "./panes";
import { TitleField, useFocusAfter } from "./TitleField";

export interface ConversationItemProps {
  conversation: Summary;
  isCurrent: boolean;
  isRenaming: boolean;
  menu: RefObject<HTMLElement | null>;
  onChoose(): void;
  onRename(title: string): void;
  onRenamed(): void;
}

export function ConversationItem(props: ConversationItemProps) {
  const { conversation, isCurrent, isRenaming, menu } = props;
  const title = conversation.title ?? "New conversation";
  const link = useRef<HTMLAnchorElement>(null);
  const more = useRef<HTMLButtonElement>(null);
  useFocusAfter(isRenaming, link);
  useEffect(() => {
    if (more.current) more.current.popoverTargetElement = menu.current;
  });
  if (isRenaming) {
    return (
      <li class="item">
        <TitleField title={conversation.title ?? ""} onRename={props.onRename} onEnd={props.onRenamed} />
      </li>
    );
  }
  return (
    <li class="item">
      <a
        ref={link}
        href={addressOf(conversation.id)}
        dir="auto"
        title={title}
        aria-current={isCurrent ? "page" : undefined}
        onClick={() => (isDrawerOpen.value = false)}
      >
        {title}
      </a>
      <button
        type="button"
        class="quiet"
        ref={more}
        aria-label={`More for “${title}”`}
        onClick={props.onChoose}
      >
        <Icon name="more" />
      </button>
    </li>
  );
}
