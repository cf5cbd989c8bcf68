import { describe, expect, test, vi } from "vitest";
import { issueToken } from "./testing";
import { subjectOf, Tokens } from "./tokens";

describe("tokens", () => {
  test("are asked for once by all who need one", async () => {
    const source = vi.fn(async () => "a");
    const tokens = new Tokens(source);
    expect(await Promise.all([tokens.current(), tokens.current()])).toEqual(["a", "a"]);
    expect(source).toHaveBeenCalledTimes(1);
  });

  test("that are refused twice in a row refuse access, and who waits goes on with the next", async () => {
    const given = ["a", "b", "c"];
    const tokens = new Tokens(() => given.shift() ?? null);
    tokens.refuse(await tokens.current());
    tokens.refuse(await tokens.current());
    expect(tokens.access.peek()).toBe("refused");
    const waiting = tokens.current();
    tokens.grant("d");
    expect([await waiting, tokens.access.peek(), given]).toEqual(["d", "granted", ["c"]]);
  });

  test("that are let in may be refused once more, later", async () => {
    const given = ["a", "b", "c"];
    const tokens = new Tokens(() => given.shift() ?? null);
    tokens.refuse(await tokens.current());
    tokens.accept(await tokens.current());
    tokens.refuse("b");
    expect([await tokens.current(), tokens.access.peek()]).toEqual(["c", "granted"]);
  });

  test("that were replaced already may be refused late without harm", async () => {
    const given = ["a", "b"];
    const tokens = new Tokens(() => given.shift() ?? null);
    tokens.refuse(await tokens.current());
    await tokens.current();
    tokens.refuse("a");
    expect(await tokens.current()).toBe("b");
  });

  test("are refused where the source fails, gives none, or the same again", async () => {
    for (const source of [() => null, () => "", () => Promise.reject(new Error("no"))]) {
      const tokens = new Tokens(source);
      void tokens.current();
      await vi.waitFor(() => expect(tokens.access.peek()).toBe("refused"));
    }
    const tokens = new Tokens(() => "a");
    tokens.refuse(await tokens.current());
    void tokens.current();
    await vi.waitFor(() => expect(tokens.access.peek()).toBe("refused"));
  });
});

test("the subject of a token is read, whatever characters it has", () => {
  expect(subjectOf(issueToken("ännä@例え.jp"))).toBe("ännä@例え.jp");
  expect(subjectOf("opaque")).toBe("");
});
