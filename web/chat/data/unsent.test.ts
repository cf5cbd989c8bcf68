import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import { MemoryStorage, until } from "./testing";
import { isDone, openChat, provideServer, proxy, sendAndFollow, textsOf, tokenOf } from "./testing-chats";

provideServer();

describe("a message that could not be sent", () => {
  test("stays, over a reload, and is stored once when it is sent again", async () => {
    const storage = new MemoryStorage();
    const token = tokenOf("unsent");
    const first = openChat({ storage, token });
    await isDone(await sendAndFollow(first.thread.peek(), "One"));
    const id = first.thread.peek().id.peek();
    await proxy.close();
    first.thread.peek().draft.value = "Two";
    await first.thread.peek().send("Two");
    expect(first.thread.peek().draft.peek()).toBe("");
    expect(first.thread.peek().unsent.peek()[0]?.problem.peek()).toBe("The server cannot be reached.");
    first.close();
    await proxy.open();
    const second = openChat({ storage, token });
    second.open(id);
    const thread = second.thread.peek();
    const entry = await until(() => thread.unsent.peek()[0]);
    expect([entry.text, entry.state.peek()]).toEqual(["Two", "failed"]);
    await until(() => thread.state.peek() === "ready");
    await thread.retry(entry);
    expect(thread.unsent.peek()).toEqual([]);
    expect(thread.messages.peek()[2]?.key).toBe(entry.key);
    await until(() => thread.messages.peek()[3]?.status.peek() === "COMPLETE");
    expect(
      [...Array(storage.length).keys()].filter((index) => storage.key(index)?.includes("unsent")),
    ).toEqual([]);
  });

  test("is there once, although the first answer was lost", async () => {
    const chat = openChat();
    const thread = chat.thread.peek();
    const real = fetch;
    vi.stubGlobal("fetch", async (...given: Parameters<typeof fetch>) => {
      await (await real(...given)).text();
      throw new TypeError("the answer was lost");
    });
    await thread.send("One");
    vi.stubGlobal("fetch", real);
    expect(thread.unsent.peek()[0]?.state.peek()).toBe("failed");
    await thread.retry(thread.unsent.peek()[0]!);
    await isDone(thread.messages.peek()[1]!);
    await chat.conversations.refresh();
    expect(chat.conversations.items.peek()).toHaveLength(1);
    expect(thread.messages.peek()).toHaveLength(2);
  });

  test("is sent by itself where the page was left on the way", async () => {
    const storage = new MemoryStorage();
    const token = tokenOf("left");
    const first = openChat({ storage, token });
    vi.stubGlobal("fetch", () => new Promise(() => {}));
    void first.thread.peek().send("One");
    await until(() =>
      [...Array(storage.length).keys()].some((index) => storage.key(index)?.includes("unsent")),
    );
    first.close();
    vi.unstubAllGlobals();
    const second = openChat({ storage, token });
    await until(() => second.thread.peek().messages.peek()[1]?.status.peek() === "COMPLETE");
    expect(second.thread.peek().unsent.peek()).toEqual([]);
  });

  test("waits for the one before it, so that both are of one conversation", async () => {
    const thread = openChat().thread.peek();
    await Promise.all([thread.send("One"), thread.send("Two")]);
    expect(textsOf(thread).filter((_, index) => index % 2 === 0)).toEqual(["One", "Two"]);
  });
});

describe("drafts", () => {
  test("are of one conversation, and survive a reload", async () => {
    const storage = new MemoryStorage();
    const token = tokenOf("drafts");
    const first = openChat({ storage, token });
    await isDone(await sendAndFollow(first.thread.peek(), "One"));
    const id = first.thread.peek().id.peek();
    first.thread.peek().draft.value = "half a thou";
    first.open(null);
    expect(first.thread.peek().draft.peek()).toBe("");
    first.thread.peek().draft.value = "another";
    first.close();
    const second = openChat({ storage, token });
    await until(() => second.thread.peek().draft.peek() === "another");
    second.open(id);
    expect(second.thread.peek().draft.peek()).toBe("half a thou");
  });

  test("are no more than typed text where the storage is forbidden", async () => {
    const storage = new globalThis.Proxy({} as Storage, {
      get() {
        throw new DOMException("no", "SecurityError");
      },
    });
    const thread = openChat({ storage }).thread.peek();
    thread.draft.value = "One";
    await isDone(await sendAndFollow(thread, "One"));
    expect(thread.draft.peek()).toBe("");
  });

  test("of one user are not shown to another", async () => {
    const storage = new MemoryStorage();
    const first = openChat({ storage, token: tokenOf("ann") });
    await until(() => first.thread.peek().draft);
    await sleep(10);
    first.thread.peek().draft.value = "secret";
    first.close();
    const second = openChat({ storage, token: tokenOf("bob") });
    await second.conversations.refresh();
    expect(second.thread.peek().draft.peek()).toBe("");
  });
});
