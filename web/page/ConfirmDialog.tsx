/** Asks before something is gone for good. */
import { useLayoutEffect, useRef } from "preact/hooks";

export interface ConfirmDialogProps {
  title: string;
  name: string;
  onConfirm(): void;
  onClose(): void;
}

export function ConfirmDialog({ title, name, onConfirm, onClose }: ConfirmDialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog class="dialog" ref={dialog} aria-label={title} onClose={onClose}>
      <h2>{title}</h2>
      <p>
        <strong dir="auto">{name}</strong> and all its messages will be gone for good.
      </p>
      <div class="buttons">
        <button type="button" autofocus onClick={() => dialog.current?.close()}>
          Keep it
        </button>
        <button
          type="button"
          class="primary danger"
          onClick={() => {
            onConfirm();
            dialog.current?.close();
          }}
        >
          Delete
        </button>
      </div>
    </dialog>
  );
}
