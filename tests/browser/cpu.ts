import type { Browser, Page } from "@playwright/test";

/** Milliseconds that `work` takes on the machine of the project's figures, when it is quiet. */
const REFERENCE_MS = 10;

/** How many times slower this machine is at the moment: the fastest of some runs of a fixed loop in the page. */
export async function measureMachine(page: Page): Promise<number> {
  const fastest = await page.evaluate(() => {
    const work = () => {
      const root = document.createElement("div");
      let text = "";
      for (let index = 0; index < 10_000; index += 1) {
        text += String.fromCharCode(97 + (index % 26));
        if (/b\w*z$/.test(text)) text = "";
        root.append(document.createElement("span"), document.createTextNode(text));
      }
      return root.textContent.length;
    };
    const times = Array.from({ length: 12 }, () => {
      const start = performance.now();
      work();
      return performance.now() - start;
    });
    return Math.min(...times);
  });
  return Math.max(1, fastest / REFERENCE_MS);
}

interface Cost {
  total: number;
  longest: number;
}

interface TraceEvent {
  name: string;
  ph: string;
  pid: number;
  tid: number;
  ts: number;
  dur?: number;
  tdur?: number;
}

/** What the script of a page is run by: events, frames, timers, promises. */
const SCRIPT = new Set(["FunctionCall", "FireAnimationFrame", "TimerFire", "RunMicrotasks", "EvaluateScript"]);

/** What comes of it on the screen. */
const RENDERING = new Set([...SCRIPT, "UpdateLayoutTree", "Layout", "PrePaint", "Paint", "Layerize", "HitTest"]);

/** Milliseconds of CPU that the page's scripts take meanwhile, in all and the longest at a time; `rendering`: with layout and painting. */
export async function measureCpu(
  browser: Browser,
  page: Page,
  action: () => Promise<void>,
): Promise<Cost & { rendering: Cost }> {
  await browser.startTracing(page, { categories: ["devtools.timeline", "v8.execute", "__metadata"] });
  await action();
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString()) as { traceEvents: TraceEvent[] };
  return { ...sum(traceEvents, SCRIPT), rendering: sum(traceEvents, RENDERING) };
}

/** What the events of these names take; one within another is counted in that. */
function sum(events: TraceEvent[], names: Set<string>): Cost {
  const cost = { total: 0, longest: 0 };
  const ends = new Map<string, number>();
  const runs = events
    .filter(({ name, ph }) => ph === "X" && names.has(name))
    .sort((a, b) => a.ts - b.ts || (b.dur ?? 0) - (a.dur ?? 0));
  for (const { pid, tid, ts, dur = 0, tdur = dur } of runs) {
    const thread = `${pid} ${tid}`;
    if (ts < (ends.get(thread) ?? 0)) continue;
    ends.set(thread, ts + dur);
    cost.total += tdur / 1000;
    cost.longest = Math.max(cost.longest, tdur / 1000);
  }
  return cost;
}
