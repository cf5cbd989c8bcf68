import { describe, expect, test } from "vitest";
import type { Client } from "./client";
import { append, ConversationList, mergeFirstPage, type Summary } from "./conversations";

const at = (minute: number, id = `c${minute}`): Summary => ({
  id,
  title: id,
  updatedAt: `2026-11-22T08:${String(minute).padStart(2, "0")}:00+00:00`,
  archivedAt: null,
});
const idsOf = (items: readonly Summary[]) => items.map(({ id }) => id);

describe("a first page read anew", () => {
  const shown = [at(9), at(8), at(7), at(6), at(5), at(4)];

  test("takes the place of the old one, and what is behind it stays", () => {
    const { items, keepsTail } = mergeFirstPage(shown, [at(10), at(9), at(8)], true);
    expect(idsOf(items)).toEqual(["c10", "c9", "c8", "c7", "c6", "c5", "c4"]);
    expect(keepsTail).toBe(true);
  });

  test("has what has come up once, and at the top", () => {
    const { items } = mergeFirstPage(shown, [at(11, "c5"), at(9), at(8)], true);
    expect(idsOf(items)).toEqual(["c5", "c9", "c8", "c7", "c6", "c4"]);
  });

  test("does not have what was deleted in it", () => {
    const { items } = mergeFirstPage(shown, [at(9), at(7), at(6)], true);
    expect(idsOf(items)).toEqual(["c9", "c7", "c6", "c5", "c4"]);
  });

  test("is everything where there is no next one", () => {
    const { items, keepsTail } = mergeFirstPage(shown, [at(9)], false);
    expect([idsOf(items), keepsTail]).toEqual([["c9"], false]);
  });
});

test("a next page has nothing that is shown already", () => {
  expect(idsOf(append([at(9), at(8)], [at(8), at(7)]))).toEqual(["c9", "c8", "c7"]);
});

describe("a conversation that is being deleted is not brought back by a list that was asked for", () => {
  /** A server with one conversation, which gives its answers one by one; one that `refuses` deletes nothing. */
  function serve(refuses = false): { list: ConversationList; answer: (index?: number) => Promise<void> } {
    const answers: (() => void)[] = [];
    let stored = [at(1)];
    const request = (document: { toString(): string }) => {
      if (document.toString().includes("mutation")) {
        return new Promise<object>((answer, refuse) =>
          answers.push(() => {
            if (refuses) return refuse(new Error("refused"));
            stored = [];
            answer({});
          }),
        );
      }
      const edges = stored.map((node) => ({ node }));
      const conversations = { edges, pageInfo: { hasNextPage: false, endCursor: null } };
      return new Promise<object>((answer) => answers.push(() => answer({ conversations })));
    };
    const answer = async (index = 0) => {
      answers.splice(index, 1)[0]?.();
      await new Promise((go) => setTimeout(go));
    };
    return { list: new ConversationList({ request } as unknown as Client, () => {}), answer };
  }

  test.each([
    ["before, and is answered before it is gone", ["list", "remove"], [0, 0]],
    ["before, and is answered after", ["list", "remove"], [1, 0]],
    ["meanwhile, and is answered before it is gone", ["remove", "list"], [1, 0]],
    ["meanwhile, and is answered after", ["remove", "list"], [0, 0]],
  ])("%s", async (_, requests, answers) => {
    const { list, answer } = serve();
    void list.refresh();
    await answer();
    const seen: string[][] = [];
    let removed = Promise.resolve();
    for (const request of requests) {
      if (request === "list") void list.refresh();
      else removed = list.remove("c1");
    }
    list.items.subscribe((items) => seen.push(idsOf(items)));
    for (const index of answers) await answer(index);
    await removed;
    expect(seen.flat()).toEqual([]);
    list.close();
  });

  test("unless the server refuses to delete it", async () => {
    const { list, answer } = serve(true);
    void list.refresh();
    await answer();
    const removed = expect(list.remove("c1")).rejects.toThrow("refused");
    void list.refresh();
    await answer();
    await removed;
    expect(idsOf(list.items.peek())).toEqual(["c1"]);
    await answer();
    expect(idsOf(list.items.peek())).toEqual(["c1"]);
    list.close();
  });
});
