import { LONG_ANSWER, SAMPLES } from "../../web/chat/markdown/corpus.ts";
import { corpus } from "./corpus.ts";
import { measureCpu, measureMachine } from "./cpu.ts";
import { expect, test } from "./fixtures.ts";
import { randomPieces, say, sayEach } from "./model.ts";
import { endWatching, watchPlace, watchTranscript, type TranscriptReport } from "./watch.ts";

// Of a table without pipes at its edges the first line is a paragraph until the second comes.
const TEXTS = [
  ...SAMPLES.filter(({ turns }) => !turns).map(({ text }) => text),
  corpus.everything,
  corpus.languages,
  corpus.hostile,
];

for (const seed of [1, 2, 3]) {
  test(`no node goes, nothing shrinks and no raw marker is seen, however text is cut (seed ${seed})`, async ({
    chat,
    server,
    page,
  }) => {
    await chat.ask("Hello");
    await server.script(sayEach(TEXTS, { pace: 120, pieces: randomPieces(24, seed) }));
    await watchTranscript(chat.transcript);
    await chat.ask("Everything");
    const report = await endWatching<TranscriptReport>(page);
    expect(report).toMatchObject({ removed: [], drops: [], takenBack: [] });
    expect(report.growths).toBeGreaterThan(200);
  });
}

test("what was streamed is what a reload shows", async ({ chat, server, page }) => {
  await server.script(sayEach(TEXTS, { pace: 2_000, pieces: randomPieces(40, 4) }));
  await chat.ask("Everything");
  const read = async () => {
    const html = await chat.textOf().evaluateAll((parts) => parts.map((part) => part.innerHTML).join("\n"));
    return html.replace(/markdown-task-\d+/g, "task");
  };
  // Colours come when the highlighter is there.
  await expect(chat.textOf().locator("pre code span").first()).toBeAttached();
  const streamed = await read();
  expect(streamed).toMatch(/<strong>.*<table>.*<pre/s);
  await page.reload();
  await expect(chat.textOf().locator("pre code span").first()).toBeAttached();
  await expect.poll(read).toBe(streamed);
});

test("who scrolls up in mid-stream stays there, and comes back by the button or by End", async ({
  chat,
  server,
  page,
}) => {
  const text = Array.from({ length: 240 }, (_, index) => `Paragraph ${index} of a text that grows.`).join("\n\n");
  await server.script(say(text, { pace: 60, pieces: 16 }));
  await chat.send("Go on");
  await expect(chat.transcript.getByText("Paragraph 25 of")).toBeVisible({ timeout: 20_000 });
  const fromEnd = () => chat.transcript.evaluate((log) => Math.abs(log.scrollTop));
  expect(await fromEnd()).toBeLessThan(1);
  await chat.transcript.hover();
  await page.mouse.wheel(0, -300);
  await expect(chat.jumpButton).toBeVisible();
  await expect(chat.jumpButton).toHaveText("New text");
  const seen = await chat.transcript.evaluate((log) => {
    const { top, bottom } = log.getBoundingClientRect();
    const paragraphs = [...log.querySelectorAll("p")];
    const below = paragraphs.find((each) => each.getBoundingClientRect().top > (top + bottom) / 2);
    return Number(below?.textContent.match(/\d+/)?.[0]);
  });
  const watched = chat.transcript.getByText(`Paragraph ${seen} of`);
  await watchPlace(watched);
  await expect(chat.transcript.getByText(`Paragraph ${seen + 20} of`)).toBeAttached({ timeout: 20_000 });
  expect(await endWatching<number>(page)).toBeLessThan(1);
  await expect(watched).toBeInViewport();

  await chat.transcript.focus();
  await page.keyboard.press("End");
  await expect.poll(fromEnd).toBeLessThan(1);
  await expect(chat.jumpButton).toBeHidden();
  // And there it stays, while more text comes.
  await expect(chat.transcript.getByText(`Paragraph ${seen + 40} of`)).toBeAttached({ timeout: 20_000 });
  await expect.poll(fromEnd).toBeLessThan(1);

  await page.mouse.wheel(0, -300);
  await chat.jumpButton.click();
  await expect.poll(fromEnd).toBeLessThan(1);
  await expect(chat.jumpButton).toBeHidden();
  await chat.settle();
  await expect(chat.transcript.getByText("Paragraph 239 of")).toBeInViewport();
});

// What a quiet machine needs is 300 ms and 16 ms; of what grows with the square of the length, many times as much.
const ROOM = 4;

test("an answer of forty kilobytes costs little, and each push of it", async ({ chat, server, browser, page }) => {
  const factor = await measureMachine(page);
  await server.script(say(LONG_ANSWER.slice(0, 40_000), { pace: 600, pieces: 12 }));
  const { total, longest } = await measureCpu(browser, page, () => chat.ask("A long answer"));
  console.log(
    `40 kB: ${total.toFixed(0)} ms of scripting, ${longest.toFixed(1)} ms for the longest push, on a machine ${factor.toFixed(1)} times slower`,
  );
  expect(total).toBeLessThan(300 * factor * ROOM);
  expect(longest).toBeLessThan(16 * factor * ROOM);
});

test("the longest word, the deepest nesting and the widest table leave the page usable", async ({
  chat,
  server,
  page,
}) => {
  const text = [
    `${"x".repeat(20_000)}`,
    `${">".repeat(200)} deep`,
    `${"- ".repeat(200)}deep`,
    `|${"a|".repeat(300)}\n|${"-|".repeat(300)}\n|${"1|".repeat(300)}`,
    `${"*a **b ".repeat(500)}`,
    `${"[a](".repeat(500)}`,
  ].join("\n\n");
  await server.script(say(text, { pace: 5_000, pieces: 64 }));
  await chat.ask("Go");
  expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
  await chat.ask("Hello");
});

test("the page and its first script are at most 120 kB, and nothing is asked twice", async ({ page, server }) => {
  const sizes = new Map<string, number>();
  const client = await page.context().newCDPSession(page);
  await client.send("Network.enable");
  const names = new Map<string, string>();
  client.on("Network.responseReceived", ({ requestId, response }) => names.set(requestId, response.url));
  client.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    const path = new URL(names.get(requestId) ?? server.url).pathname;
    sizes.set(path, (sizes.get(path) ?? 0) + encodedDataLength);
  });
  await page.goto("/");
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  const chain = [...sizes].filter(([path]) => path === "/" || path.startsWith("/page/"));
  console.log(chain.map(([path, size]) => `${path} ${(size / 1000).toFixed(1)} kB`).join(", "));
  expect(chain.map(([path]) => path).sort()).toEqual(["/", "/page/page.js"]);
  expect(chain.reduce((sum, [, size]) => sum + size, 0)).toBeLessThan(120_000);
});
