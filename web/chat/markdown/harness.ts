import { beginnings, type Sample } from "./corpus";
import { MarkdownView } from "./markdown";

/** What a reader would have seen go wrong while a text came in. */
export interface Report {
  name: string;
  seed: number;
  removed: number;
  drops: number;
  /** The first text on screen that is not the beginning of the final text, or takes back some of it. */
  raw: string | null;
  /** The final nodes differ from those of the text shown at once. */
  differs: boolean;
}

const OPTIONS = { copyLabel: "Copy", copiedLabel: "Copied" };

/** Streams a sample into `parent`, cut at random, and watches every update. */
export function watchStream(parent: HTMLElement, { name, text }: Sample, seed: number): Report {
  const whole = showAtOnce(parent, text);
  const final = whole.textContent ?? "";
  const root = append(parent);
  const observer = new MutationObserver(() => {});
  observer.observe(root, { childList: true, subtree: true });
  const view = new MarkdownView(root, OPTIONS);
  const report: Report = { name, seed, removed: 0, drops: 0, raw: null, differs: false };
  let height = 0;
  let length = 0;
  const look = (): void => {
    for (const record of observer.takeRecords()) report.removed += record.removedNodes.length;
    const now = root.getBoundingClientRect().height;
    if (now < height - 0.5) report.drops += 1;
    height = now;
    const shown = root.textContent ?? "";
    if (!final.startsWith(shown) || shown.length < length) report.raw ??= shown.slice(-80);
    length = shown.length;
  };
  for (const beginning of beginnings(text, seed)) {
    view.update(beginning, true);
    look();
  }
  view.update(text, false);
  look();
  report.differs = markup(root) !== markup(whole);
  observer.disconnect();
  root.remove();
  whole.remove();
  return report;
}

function showAtOnce(parent: HTMLElement, text: string): HTMLElement {
  const root = append(parent);
  new MarkdownView(root, OPTIONS).update(text, false);
  return root;
}

function append(parent: HTMLElement): HTMLElement {
  const root = document.createElement("div");
  parent.append(root);
  return root;
}

/** The nodes as text; the numbers of tasks, which go on through the page, do not count. */
function markup(root: HTMLElement): string {
  return new XMLSerializer().serializeToString(root).replace(/markdown-task-\d+/g, "task");
}
