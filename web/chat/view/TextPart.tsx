/** Markdown as it is written. */
import type { ReadonlySignal } from "@preact/signals";
import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { MarkdownView } from "../markdown/markdown";
import { applyPerFrame } from "./frame";
import { useView } from "./view";

export function TextPart({ text, isGrowing }: { text: ReadonlySignal<string>; isGrowing: boolean }) {
  const { highlight } = useView();
  const root = useRef<HTMLDivElement>(null);
  const growing = useSignal(isGrowing);
  growing.value = isGrowing;
  useLayoutEffect(() => {
    if (!root.current) return undefined;
    const view = new MarkdownView(root.current, { highlight, copyLabel: "Copy", copiedLabel: "Copied" });
    const stop = applyPerFrame(
      () => ({ text: text.value, isGrowing: growing.value }),
      (now) => view.update(now.text, now.isGrowing),
    );
    return () => {
      stop();
      view.destroy();
    };
  }, [text, highlight]);
  return <div class="text" part="text" ref={root} />;
}
