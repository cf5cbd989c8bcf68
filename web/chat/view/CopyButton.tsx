/** Puts a text on the clipboard and says so for two seconds. */
import { useSignal } from "@preact/signals";
import { Icon } from "./icons";
import { useAttempt } from "./view";

const SAID_MS = 2_000;

export function CopyButton({ label, text }: { label: string; text(): string }) {
  const attempt = useAttempt();
  const isCopied = useSignal(false);
  const copy = async () => {
    if (!(await attempt(() => navigator.clipboard.writeText(text())))) return;
    isCopied.value = true;
    setTimeout(() => (isCopied.value = false), SAID_MS);
  };
  // Pages that came over plain HTTP from another machine have no clipboard.
  if (!navigator.clipboard) return null;
  return (
    <button
      type="button"
      class="quiet small"
      aria-label={isCopied.value ? "Copied" : label}
      title={isCopied.value ? "Copied" : "Copy"}
      onClick={() => void copy()}
    >
      <Icon name={isCopied.value ? "check" : "copy"} />
    </button>
  );
}
