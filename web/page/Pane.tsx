/** A side of the page: fixed beside the thread where there is room, else a modal drawer over it. */
import type { Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

export interface PaneProps {
  side: "start" | "end";
  label: string;
  isFixed: boolean;
  /** Of the drawer. */
  isOpen: Signal<boolean>;
  children: ComponentChildren;
}

export function Pane({ side, label, isFixed, isOpen, children }: PaneProps) {
  if (!isFixed) {
    return (
      <Drawer side={side} label={label} isOpen={isOpen}>
        {children}
      </Drawer>
    );
  }
  return (
    <aside class={`pane ${side}`} aria-label={label}>
      {children}
    </aside>
  );
}

/** The browser holds the focus inside a modal dialog, closes it on Escape and gives the focus back. */
function Drawer({ side, label, isOpen, children }: Omit<PaneProps, "isFixed">) {
  const dialog = useRef<HTMLDialogElement>(null);
  const open = isOpen.value;
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  useEffect(() => () => void (isOpen.value = false), [isOpen]);
  const close = () => (isOpen.value = false);
  return (
    <dialog
      class={`pane drawer ${side}`}
      aria-label={label}
      ref={dialog}
      onClose={close}
      onClick={(event) => event.target === event.currentTarget && close()}
    >
      <div class="drawer-body" tabIndex={-1} autofocus>
        {children}
      </div>
    </dialog>
  );
}
