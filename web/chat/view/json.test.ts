import { expect, test } from "vitest";
import { writeJson } from "./json";

test("what turns the direction of a text is written out, and stands for the same", () => {
  const value = { path: "invoice\u202egnp.exe", isolated: "\u2066a\u2069", said: "שלום" };
  expect(writeJson(value)).not.toMatch(/[\u202a-\u202e\u2066-\u2069]/);
  expect(writeJson(value)).toContain("שלום");
  expect(JSON.parse(writeJson(value))).toEqual(value);
});
