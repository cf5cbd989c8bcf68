/** The question whether a tool call may run, with an optional note to the agent. */
import { useSignal } from "@preact/signals";
import { useAttempt } from "./view";

const LONGEST_NOTE = 2_000;

export interface ApprovalProps {
  tool: string;
  onResolve(approve: boolean, note?: string): Promise<void>;
  /** The question goes away; the focus needs another place. */
  onResolved(): void;
}

export function Approval({ tool, onResolve, onResolved }: ApprovalProps) {
  const attempt = useAttempt();
  const note = useSignal("");
  const isAnswering = useSignal(false);
  const answer = async (approve: boolean) => {
    isAnswering.value = true;
    onResolved();
    const said = note.peek().trim() || undefined;
    if (!(await attempt(() => onResolve(approve, said)))) isAnswering.value = false;
  };
  return (
    <div class="approval" part="approval" role="group" aria-label={`May ${tool} run?`}>
      <input
        class="field"
        dir="auto"
        aria-label="Note to the agent, optional"
        placeholder="Add a note (optional)"
        maxLength={LONGEST_NOTE}
        value={note.value}
        onInput={(event) => (note.value = event.currentTarget.value)}
      />
      <button type="button" disabled={isAnswering.value} onClick={() => void answer(false)}>
        Deny
      </button>
      <button type="button" class="primary" disabled={isAnswering.value} onClick={() => void answer(true)}>
        Approve
      </button>
    </div>
  );
}
