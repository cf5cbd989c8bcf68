/** What the model thought, folded. */
import type { ReadonlySignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { useGrowingText } from "./frame";
import { Icon } from "./icons";

export function ReasoningPart({ text, isGrowing }: { text: ReadonlySignal<string>; isGrowing: boolean }) {
  const root = useRef<HTMLDivElement>(null);
  useGrowingText(root, text);
  return (
    <details class={isGrowing ? "reasoning growing" : "reasoning"} part="reasoning">
      <summary>
        <Icon name="fold" class="fold" />
        <span>{isGrowing ? "Thinking…" : "Reasoning"}</span>
      </summary>
      <div class="thoughts" dir="auto" ref={root} />
    </details>
  );
}
