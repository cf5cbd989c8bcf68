/** A tool call: what is called with what, how far it is, what came back; and the question if it may run. */
import type { ReadonlySignal } from "@preact/signals";
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Message, ToolCall } from "../data/message";
import type { Thread } from "../data/thread";
import { Approval } from "./Approval";
import { type IconName, Icon } from "./icons";
import { writeJson } from "./json";
import { useView } from "./view";

interface Outcome {
  name: string;
  label: string;
  icon: IconName;
}

const OUTCOMES: Record<string, Outcome> = {
  RUNNING: { name: "running", label: "Running", icon: "spinner" },
  AWAITING_APPROVAL: { name: "awaiting", label: "Needs your approval", icon: "alert" },
  SUCCEEDED: { name: "succeeded", label: "Done", icon: "check" },
  FAILED: { name: "failed", label: "Failed", icon: "close" },
  DENIED: { name: "denied", label: "Denied", icon: "denied" },
  INTERRUPTED: { name: "interrupted", label: "Interrupted", icon: "alert" },
};
const QUEUED: Outcome = { name: "queued", label: "Queued", icon: "clock" };

interface ToolCallCardProps {
  thread: Thread;
  message: Message;
  call: ReadonlySignal<ToolCall>;
}

export function ToolCallCard({ thread, message, call }: ToolCallCardProps) {
  const { chat, titles } = useView();
  const { id, tool, parameters, result, status } = call.value;
  const outcome = OUTCOMES[status] ?? QUEUED;
  const awaits = status === "AWAITING_APPROVAL" && message.isRunning.value;
  const isOpen = useSignal(awaits);
  const summary = useRef<HTMLElement>(null);
  // What is asked about is shown, and stays as the user then leaves it.
  useEffect(() => {
    if (awaits) isOpen.value = true;
  }, [awaits]);
  for (const task of chat.tasks.items.value) titles.set(task.id, task.title);
  return (
    <div class={`call ${outcome.name}`} part="tool-call">
      <details open={isOpen.value} onToggle={(event) => (isOpen.value = event.currentTarget.open)}>
        <summary ref={summary}>
          <Icon name="fold" class="fold" />
          <code class="name" dir="ltr">
            {tool}
          </code>
          <span class="gist" dir="auto">
            {gistOf(parameters, titles)}
          </span>
          <span class="outcome">
            <Icon name={outcome.icon} class={outcome.name === "running" ? "spinner" : ""} />
            {outcome.label}
          </span>
        </summary>
        <Data label="Parameters" value={parameters} />
        {result != null && <Data label="Result" value={result} />}
      </details>
      {awaits && (
        <Approval
          key={id}
          tool={tool}
          onResolve={(approve, note) => thread.resolve(message, id, approve, note)}
          onResolved={() => summary.current?.focus({ preventScroll: true })}
        />
      )}
    </div>
  );
}

function Data({ label, value }: { label: string; value: unknown }) {
  return (
    <div class="data">
      <h3>{label}</h3>
      <pre dir="ltr" tabIndex={0} role="group" aria-label={label}>
        {writeJson(value)}
      </pre>
    </div>
  );
}

/** The first words among the parameters, or the title of what an id names: it tells one call from another. */
function gistOf(parameters: unknown, titles: ReadonlyMap<string, string>): string {
  const texts = textsIn(parameters);
  return texts.map((text) => titles.get(text)).find((title) => title !== undefined) ?? texts[0] ?? "";
}

function textsIn(value: unknown): string[] {
  if (typeof value === "string") return [value];
  return value !== null && typeof value === "object" ? Object.values(value).flatMap(textsIn) : [];
}
