import { describe, expect, test } from "vitest";
import { placeBehindParent } from "./tree";

const at = (id: string, parentId: string | null) => ({ id, parentId });

describe("the place of a message", () => {
  const branch = [at("q1", null), at("a1", "q1"), at("q2", "a1"), at("a2", "q2")];

  test("is behind its parent, and what stood there is on another branch", () => {
    expect(placeBehindParent(branch, at("a2b", "q2"))?.map(({ id }) => id)).toEqual([
      "q1",
      "a1",
      "q2",
      "a2b",
    ]);
    expect(placeBehindParent(branch, at("q2b", "a1"))?.map(({ id }) => id)).toEqual(["q1", "a1", "q2b"]);
    expect(placeBehindParent(branch, at("q3", "a2"))?.map(({ id }) => id)).toEqual([
      "q1",
      "a1",
      "q2",
      "a2",
      "q3",
    ]);
  });

  test("is the beginning where it has no parent", () => {
    expect(placeBehindParent(branch, at("q1b", null))?.map(({ id }) => id)).toEqual(["q1b"]);
  });

  test("is unknown where its parent is not shown", () => {
    expect(placeBehindParent(branch, at("q9", "a8"))).toBe(null);
  });
});
