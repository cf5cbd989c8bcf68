/** What changes with every token is put on the page once per animation frame. */
import { effect, type ReadonlySignal, untracked } from "@preact/signals";
import type { RefObject } from "preact";
import { useLayoutEffect } from "preact/hooks";

/**
 * Applies what `read` gives: now, and later once per animation frame in which it changed. Returns the
 * function that ends it.
 */
export function applyPerFrame<T>(read: () => T, apply: (value: T) => void): () => void {
  let frame: number | null = null;
  let isFirst = true;
  const stop = effect(() => {
    const value = read();
    if (isFirst) {
      isFirst = false;
      untracked(() => apply(value));
    } else {
      frame ??= requestAnimationFrame(() => {
        frame = null;
        apply(untracked(read));
      });
    }
  });
  return () => {
    stop();
    if (frame !== null) cancelAnimationFrame(frame);
  };
}

/** Keeps a text node of an element equal to a growing text, by adding to it: a selection in it survives. */
export function useGrowingText(root: RefObject<HTMLElement | null>, text: ReadonlySignal<string>): void {
  useLayoutEffect(() => {
    const node = document.createTextNode("");
    root.current?.append(node);
    const stop = applyPerFrame(
      () => text.value,
      (value) => {
        if (value.startsWith(node.data)) node.appendData(value.slice(node.length));
        else node.data = value;
      },
    );
    return () => {
      stop();
      node.remove();
    };
  }, [text]);
}
