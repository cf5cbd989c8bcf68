/** A text field as high as its text; Enter submits, Shift+Enter begins a line, Escape leaves. */
import { effect, type Signal } from "@preact/signals";
import type { RefObject } from "preact";
import { useLayoutEffect } from "preact/hooks";

export interface GrowingTextareaProps {
  text: Signal<string>;
  field: RefObject<HTMLTextAreaElement | null>;
  label: string;
  placeholder?: string;
  onSubmit(): void;
  onEscape?(): void;
}

export function GrowingTextarea(props: GrowingTextareaProps) {
  const { text, field, label, placeholder, onSubmit, onEscape } = props;
  useLayoutEffect(() => effect(() => show(text.value, field.current)), [text]);
  const onKeyDown = (event: KeyboardEvent) => {
    // Enter that ends an input method's composition submits nothing; Safari tells it by key code 229 only.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      onSubmit();
    } else if (event.key === "Escape" && onEscape) {
      onEscape();
      // Not also a sign to close what the field is in.
      event.preventDefault();
      event.stopPropagation();
    }
  };
  return (
    <textarea
      class="growing"
      ref={field}
      rows={1}
      dir="auto"
      aria-label={label}
      placeholder={placeholder}
      enterkeyhint="send"
      autocomplete="off"
      onInput={(event) => (text.value = event.currentTarget.value)}
      onKeyDown={onKeyDown}
    />
  );
}

function show(text: string, area: HTMLTextAreaElement | null): void {
  if (!area) return;
  // Written only when it differs, or the caret would jump and a composition would break off.
  if (area.value !== text) area.value = text;
  if (CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight}px`;
}
