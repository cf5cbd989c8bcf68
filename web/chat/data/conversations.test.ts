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

test("a list that was asked for before a conversation was deleted does not bring it back", async () => {
  const answers: (() => void)[] = [];
  const node = at(1);
  const page = (nodes: Summary[]) => ({
    conversations: {
      edges: nodes.map((node) => ({ node })),
      pageInfo: { hasNextPage: false, endCursor: null },
    },
  });
  let stored = [node];
  const client = {
    request: (document: { toString(): string }) => {
      if (document.toString().includes("mutation")) {
        stored = [];
        return new Promise<object>((answer) => answers.push(() => answer({})));
      }
      const read = page(stored);
      return new Promise<object>((answer) => answers.push(() => answer(read)));
    },
  } as unknown as Client;
  const list = new ConversationList(client, () => {});
  const answer = async () => {
    answers.shift()?.();
    await new Promise((go) => setTimeout(go));
  };
  void list.refresh();
  await answer();
  void list.refresh();
  const removed = list.remove(node.id);
  await answer();
  await answer();
  await removed;
  expect(list.items.peek()).toEqual([]);
  list.close();
});
