import type { Locator, Page } from "@playwright/test";

/** Watchers that run in the page, frame by frame, while something else goes on there. */

declare global {
  interface Window {
    endWatch?: () => unknown;
  }
}

export interface TranscriptReport {
  /** The nodes that were taken away, described. */
  removed: string[];
  /** By how many pixels the transcript or one of its messages got lower, and which. */
  drops: string[];
  /** Text that was shown and then not any more: markers that turned out to be markup, or flicker. */
  takenBack: string[];
  /** Frames in which there was more text than before. */
  growths: number;
}

/** Watches the transcript until `endWatching`. */
export async function watchTranscript(transcript: Locator): Promise<void> {
  await transcript.evaluate((log) => {
    const report: TranscriptReport = { removed: [], drops: [], takenBack: [], growths: 0 };
    const heights = new Map<Element, number>();
    const texts = new Map<Element, string>();
    const describe = (node: Node) =>
      node instanceof Element ? `<${node.localName} class="${node.className}">` : `“${node.textContent}”`;
    const note = (records: MutationRecord[]) => {
      for (const { removedNodes, target } of records)
        for (const node of removedNodes) report.removed.push(`${describe(node)} from ${describe(target)}`);
    };
    const observer = new MutationObserver(note);
    observer.observe(log, { childList: true, subtree: true });
    const look = () => {
      for (const box of [log, ...log.querySelectorAll("article")]) {
        const height = box === log ? log.scrollHeight : box.getBoundingClientRect().height;
        const fall = (heights.get(box) ?? 0) - height;
        if (fall > 0.5) report.drops.push(`${fall} px of ${describe(box)}`);
        heights.set(box, height);
      }
      for (const box of log.querySelectorAll("[part~=text]")) {
        const text = box.textContent;
        const before = texts.get(box) ?? "";
        if (!text.startsWith(before)) report.takenBack.push(before.slice(-60));
        if (text.length > before.length) report.growths += 1;
        texts.set(box, text);
      }
      frame = requestAnimationFrame(look);
    };
    let frame = requestAnimationFrame(look);
    window.endWatch = () => {
      look();
      cancelAnimationFrame(frame);
      note(observer.takeRecords());
      observer.disconnect();
      return report;
    };
  });
}

/** Watches where an element stands on the screen; `endWatching` gives the pixels between its extremes. */
export async function watchPlace(element: Locator): Promise<void> {
  await element.evaluate((box) => {
    let [low, high] = [Infinity, -Infinity];
    const look = () => {
      const { top } = box.getBoundingClientRect();
      low = Math.min(low, top);
      high = Math.max(high, top);
      frame = requestAnimationFrame(look);
    };
    let frame = requestAnimationFrame(look);
    window.endWatch = () => {
      look();
      cancelAnimationFrame(frame);
      return high - low;
    };
  });
}

/** Collects what live regions say until `endWatching`, which gives the announcements in their order. */
export async function watchAnnouncements(page: Page): Promise<void> {
  await page.evaluate(() => {
    const REGIONS = '[role="status"], [role="alert"], [aria-live="polite"], [aria-live="assertive"]';
    const said: string[] = [];
    const texts = new Map<Element, string>();
    const look = (isFirst = false) => {
      for (const region of document.querySelectorAll(REGIONS)) {
        const text = region.checkVisibility() ? region.textContent.trim() : "";
        if (!isFirst && text !== "" && text !== texts.get(region)) said.push(text);
        texts.set(region, text);
      }
    };
    look(true);
    const observer = new MutationObserver(() => look());
    observer.observe(document.body, { childList: true, subtree: true, characterData: true, attributes: true });
    window.endWatch = () => {
      observer.disconnect();
      return said;
    };
  });
}

/** Ends the watcher of this page and gives its report. */
export async function endWatching<Report>(page: Page): Promise<Report> {
  return (await page.evaluate(() => window.endWatch?.())) as Report;
}
