/** What can be done with a conversation; one menu for the whole list, shown at the button that opened it. */
import type { RefObject } from "preact";
import { Icon } from "../chat/view/icons";

export interface ConversationMenuProps {
  menu: RefObject<HTMLDivElement | null>;
  isArchived: boolean;
  onRename(): void;
  onArchive(isArchived: boolean): void;
  onDelete(): void;
}

export function ConversationMenu({ menu, isArchived, onRename, onArchive, onDelete }: ConversationMenuProps) {
  const choose = (action: () => void) => () => {
    menu.current?.hidePopover();
    action();
  };
  return (
    <div class="menu" popover="auto" ref={menu} onKeyDown={moveFocus}>
      <button type="button" onClick={choose(onRename)}>
        <Icon name="edit" />
        Rename
      </button>
      <button type="button" onClick={choose(() => onArchive(!isArchived))}>
        <Icon name={isArchived ? "unarchive" : "archive"} />
        {isArchived ? "Unarchive" : "Archive"}
      </button>
      <button type="button" class="danger" onClick={choose(onDelete)}>
        <Icon name="delete" />
        Delete
      </button>
    </div>
  );
}

/** The arrow keys go from entry to entry, as in any menu. */
function moveFocus(event: KeyboardEvent & { currentTarget: HTMLElement }): void {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const buttons = [...event.currentTarget.querySelectorAll("button")];
  const index = buttons.findIndex((button) => button === event.target);
  buttons[(index + step + buttons.length) % buttons.length]?.focus();
}
