/** A title in place, to be changed: Enter or leaving it renames, Escape does not. */
import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

export interface TitleFieldProps {
  title: string;
  onRename(title: string): void;
  onEnd(): void;
}

export function TitleField({ title, onRename, onEnd }: TitleFieldProps) {
  const field = useRef<HTMLInputElement>(null);
  const hasEnded = useRef(false);
  useLayoutEffect(() => field.current?.select(), []);
  const end = (isWanted: boolean) => {
    if (hasEnded.current) return;
    hasEnded.current = true;
    const name = field.current?.value.trim() ?? "";
    onEnd();
    if (isWanted && name !== "" && name !== title) onRename(name);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key !== "Enter" && event.key !== "Escape") return;
    // Not also a sign to press what gets the focus now, or to close the drawer that the field is in.
    event.preventDefault();
    event.stopPropagation();
    end(event.key === "Enter");
  };
  return (
    <input
      class="field title-field"
      ref={field}
      defaultValue={title}
      maxLength={200}
      dir="auto"
      aria-label="Title"
      enterkeyhint="done"
      onBlur={() => end(true)}
      onKeyDown={onKeyDown}
    />
  );
}

/** Gives `target` the focus when a field that stood in its place has gone, unless the user went elsewhere. */
export function useFocusAfter(isEditing: boolean, target: RefObject<HTMLElement | null>): void {
  const wasEditing = useRef(isEditing);
  useLayoutEffect(() => {
    if (wasEditing.current && !isEditing && document.activeElement === document.body) target.current?.focus();
    wasEditing.current = isEditing;
  }, [isEditing]);
}
