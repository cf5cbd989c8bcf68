import { describe, expect, test } from "vitest";
import { inWords, toServerError } from "./errors";

const NOON = new Date(2026, 10, 22, 12, 0, 0);

describe("an error of the server", () => {
  test("says when to try again", () => {
    const error = {
      message: "Too many messages. Try again in 12 s.",
      extensions: { code: "RATE_LIMITED", retryAfter: 12 },
    };
    const { message, code, retryAfter } = toServerError(error, NOON);
    expect([message, code, retryAfter]).toEqual([
      "Too many messages. Try again in 12 seconds.",
      "RATE_LIMITED",
      12,
    ]);
  });

  test("without a code is the server's fault", () => {
    expect(toServerError({ message: "Oh." }).code).toBe("INTERNAL_SERVER_ERROR");
  });
});

test.each([
  [0.2, "in 1 second"],
  [89, "in 89 seconds"],
  [100, "in 2 minutes"],
])("%d seconds are said as people do", (seconds, words) => {
  expect(inWords(seconds, NOON)).toBe(words);
});

test("a long time is told by the clock", () => {
  expect(inWords(7200, NOON)).toMatch(/^at (14|0?2)\D00/);
  expect(inWords(46_800, NOON)).toMatch(/tomorrow$/);
});
