import { expect, test } from "vitest";
import { beginnings, randomNumbers, SAMPLES, STRESS } from "./corpus";
import { parseInline } from "./inline";
import type { Inline } from "./nodes";
import { outline, outlinePieces } from "./outline";

/** The pieces between the beginnings. */
function* pieces(text: string, seed: number): Generator<string> {
  let length = 0;
  for (const beginning of beginnings(text, seed)) {
    yield beginning.slice(length);
    length = beginning.length;
  }
}

test.each(SAMPLES)("$name: the same blocks come of it however it is cut", ({ text }) => {
  const whole = outline(text);
  for (let seed = 1; seed <= 20; seed += 1) expect(outlinePieces(pieces(text, seed))).toBe(whole);
  expect(outlinePieces(text.split(""))).toBe(whole);
});

test.each(SAMPLES)(
  "$name: what is shown of a text is the beginning of what is shown of a longer one",
  ({ text }) => {
    const source = text.replaceAll(/\s+/g, " ");
    const final = shown(source, false);
    let length = 0;
    for (let end = 1; end <= Math.min(source.length, 1500); end += 1) {
      const now = shown(source.slice(0, end), true);
      expect(
        final.startsWith(now),
        `${JSON.stringify(now)} after ${JSON.stringify(source.slice(0, end))}`,
      ).toBe(true);
      expect(now.length).toBeGreaterThanOrEqual(length);
      length = now.length;
    }
  },
);

/** The characters that a reader sees of one paragraph. */
function shown(source: string, open: boolean): string {
  const text = (nodes: readonly Inline[]): string =>
    nodes.map((node) => (typeof node === "string" ? node : text(node.children))).join("");
  return text(parseInline(source, open).nodes);
}

test("any mix of markers is the same however it is cut", () => {
  const bits = [
    "*",
    "**",
    "_",
    "`",
    "``",
    "~~",
    "[",
    "](https://example.org)",
    "![",
    "<b>",
    "&amp;",
    "\\",
    "\n",
    "\n\n",
    "- ",
    "\n- ",
    "\n  - ",
    "\n1. ",
    "> ",
    "\n# ",
    "\n---",
    "\n===",
    "\n```\n",
    "    ",
    "\n|a|b|\n|-|-|\n",
    "|",
    "word ",
    "a@b.org ",
    "😀",
  ];
  for (let seed = 1; seed <= 400; seed += 1) {
    const random = randomNumbers(seed);
    const text = Array.from({ length: 30 }, () => bits[Math.floor(random() * bits.length)]).join("");
    expect(outlinePieces(text.split("")), JSON.stringify(text)).toBe(outline(text));
  }
});

test.each(STRESS)("$name: a hostile text takes less than two seconds", ({ text }) => {
  const start = performance.now();
  outline(text);
  expect(performance.now() - start).toBeLessThan(2000);
});

const LONG = 100_000;

test.each([
  ["blanks in a text", `a${" ".repeat(LONG)}b`],
  ["blanks in a heading", `# a${" ".repeat(LONG)}b`],
  ["blanks in what is nearly the second row of a table", `a|b\n:-${" ".repeat(LONG)}b`],
  ["parentheses behind addresses", `www.a${")".repeat(2000)} `.repeat(LONG / 2000)],
])("%s take no longer than they are long", (_, text) => {
  const start = performance.now();
  outline(text);
  expect(performance.now() - start).toBeLessThan(500);
});
