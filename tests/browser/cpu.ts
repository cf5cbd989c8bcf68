import type { Browser, Page } from "@playwright/test";

/** Milliseconds that `work` takes on the machine of the project's figures, when it is quiet. */
const REFERENCE_MS = 20;

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

interface TraceEvent {
  name: string;
  ph: string;
  pid: number;
  tid: number;
  ts: number;
  dur?: number;
  tdur?: number;
  args?: { name?: string };
}

/** What the script of a page is run by: events, frames, timers, promises. */
const SCRIPT = new Set(["FunctionCall", "FireAnimationFrame", "TimerFire", "RunMicrotasks", "EvaluateScript"]);

/** Milliseconds of CPU that the page's scripts take meanwhile, in all and the longest at a time. */
export async function measureCpu(
  browser: Browser,
  page: Page,
  action: () => Promise<void>,
): Promise<{ script: number; longest: number }> {
  await browser.startTracing(page, { categories: ["devtools.timeline", "v8.execute", "__metadata"] });
  await action();
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString()) as { traceEvents: TraceEvent[] };
  const runs = traceEvents
    .filter(({ name, ph }) => ph === "X" && SCRIPT.has(name))
    .sort((a, b) => a.ts - b.ts || (b.dur ?? 0) - (a.dur ?? 0));
  let script = 0;
  let longest = 0;
  const ends = new Map<string, number>();
  for (const { pid, tid, ts, dur = 0, tdur = dur } of runs) {
    const thread = `${pid} ${tid}`;
    // Within another one, which it is counted in.
    if (ts < (ends.get(thread) ?? 0)) continue;
    ends.set(thread, ts + dur);
    script += tdur / 1000;
    longest = Math.max(longest, tdur / 1000);
  }
  return { script, longest };
}
