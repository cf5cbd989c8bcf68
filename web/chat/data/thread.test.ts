import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import { until } from "./testing";
import { isDone, openChat, provideServer, sendAndFollow, textsOf, tokenOf } from "./testing-chats";

provideServer();

describe("a second tab", () => {
  test("shows what is said in the first, and in the list", async () => {
    const token = tokenOf("tabs");
    const [first, second] = [openChat({ token }), openChat({ token })];
    second.conversations.items.subscribe(() => {});
    await isDone(await sendAndFollow(first.thread.peek(), "One"));
    second.open(first.thread.peek().id.peek());
    await until(() => second.thread.peek().state.peek() === "ready");
    await isDone(await sendAndFollow(first.thread.peek(), "Two"));
    await until(() => second.thread.peek().messages.peek()[3]?.status.peek() === "COMPLETE");
    expect(textsOf(second.thread.peek())).toEqual(textsOf(first.thread.peek()));
    await until(() => second.conversations.items.peek()[0]?.id === first.thread.peek().id.peek());
  });

  test("that sends at the same moment shows one branch with both in the end", async () => {
    const token = tokenOf("both");
    const [first, second] = [openChat({ token }), openChat({ token })];
    await isDone(await sendAndFollow(first.thread.peek(), "One"));
    second.open(first.thread.peek().id.peek());
    await until(() => second.thread.peek().state.peek() === "ready");
    await Promise.all([first.thread.peek().send("Two"), second.thread.peek().send("Three")]);
    await until(() => first.thread.peek().messages.peek().length === 6);
    await until(() => second.thread.peek().messages.peek().length === 6);
    await until(
      () => first.thread.peek().running.peek() === null && second.thread.peek().running.peek() === null,
    );
    expect(textsOf(second.thread.peek())).toEqual(textsOf(first.thread.peek()));
  });

  test("that regenerates a reply takes the other along to the new one", async () => {
    const token = tokenOf("along");
    const [first, second] = [openChat({ token }), openChat({ token })];
    const old = await sendAndFollow(first.thread.peek(), "One");
    await isDone(old);
    second.open(first.thread.peek().id.peek());
    await until(() => second.thread.peek().state.peek() === "ready");
    await first.thread.peek().regenerate(old);
    const reply = first.thread.peek().messages.peek()[1]!;
    await until(() => second.thread.peek().messages.peek()[1]?.id === reply.id);
    expect(second.thread.peek().messages.peek()[1]?.versions.peek()).toEqual([old.id, reply.id]);
  });

  test("of a deleted conversation says that it is gone", async () => {
    const token = tokenOf("gone");
    const [first, second] = [openChat({ token }), openChat({ token })];
    await isDone(await sendAndFollow(first.thread.peek(), "One"));
    const id = first.thread.peek().id.peek()!;
    second.open(id);
    await until(() => second.thread.peek().state.peek() === "ready");
    await first.conversations.remove(id);
    await until(() => second.thread.peek().state.peek() === "gone");
  });
});

describe("branches", () => {
  test("an edited question is another version, and each version brings its own replies back", async () => {
    const token = tokenOf(crypto.randomUUID());
    const thread = openChat({ token }).thread.peek();
    await isDone(await sendAndFollow(thread, "Say 3 words, 1000 a second"));
    await isDone(await sendAndFollow(thread, "Say 4 words, 1000 a second"));
    const before = textsOf(thread);
    const [old] = thread.messages.peek();
    await thread.edit(old!, "Say 2 words, 1000 a second");
    expect(thread.messages.peek()).toHaveLength(2);
    await until(() => thread.messages.peek()[1]?.status.peek() === "COMPLETE");
    const [edited] = thread.messages.peek();
    expect(edited!.versions.peek()).toEqual([old!.id, edited!.id]);
    expect(old!.versions.peek()).toEqual([old!.id, edited!.id]);
    await thread.showVersion(edited!, old!.id);
    expect(textsOf(thread)).toEqual(before);
    expect(thread.messages.peek()[0]).toBe(old);

    const later = openChat({ token });
    later.open(thread.id.peek());
    await until(() => later.thread.peek().state.peek() === "ready");
    expect(later.thread.peek().messages.peek()).toHaveLength(2);
    await later.thread.peek().showVersion(later.thread.peek().messages.peek()[0]!, old!.id);
    expect(textsOf(later.thread.peek())).toEqual(before);

    await isDone(await sendAndFollow(thread, "Say 5 words, 1000 a second"));
    expect(textsOf(thread).slice(0, 4)).toEqual(before);
    expect(thread.messages.peek()).toHaveLength(6);
  });

  test("a regenerated reply is beside the old one, and both can be rated", async () => {
    const thread = openChat().thread.peek();
    const old = await sendAndFollow(thread, "One");
    await isDone(old);
    await thread.regenerate(old);
    const reply = thread.messages.peek()[1]!;
    expect(reply).not.toBe(old);
    expect(reply.versions.peek()).toEqual([old.id, reply.id]);
    await isDone(reply);
    await thread.rate(reply, "UP");
    await thread.showVersion(reply, old.id);
    expect(thread.messages.peek()[1]).toBe(old);
    await thread.showVersion(old, reply.id);
    expect(thread.messages.peek()[1]!.rating.peek()).toBe("UP");
  });

  test("of two versions asked for one after the other the second is shown, also where the first is late", async () => {
    const thread = openChat().thread.peek();
    const [first, second] = [await sendAndFollow(thread, "One"), () => thread.messages.peek()[1]!];
    await isDone(first);
    await thread.regenerate(first);
    await isDone(second());
    await thread.regenerate(second());
    const third = second();
    await isDone(third);
    const [, middle] = third.versions.peek();
    const real = fetch;
    let isLate = true;
    vi.stubGlobal("fetch", async (...given: Parameters<typeof fetch>) => {
      const wait = isLate ? 300 : 0;
      isLate = false;
      const answer = await real(...given);
      await sleep(wait);
      return answer;
    });
    await Promise.all([thread.showVersion(third, first.id), thread.showVersion(third, middle!)]);
    expect(second().id).toBe(middle);
  });

  test("who looks at an old version stays there while another tab goes on", async () => {
    const token = tokenOf("pinned");
    const [first, second] = [openChat({ token }), openChat({ token })];
    const thread = first.thread.peek();
    const old = await sendAndFollow(thread, "One");
    await isDone(old);
    await thread.regenerate(old);
    await isDone(thread.messages.peek()[1]!);
    second.open(thread.id.peek());
    await until(() => second.thread.peek().state.peek() === "ready");
    await thread.showVersion(thread.messages.peek()[1]!, old.id);
    await isDone(await sendAndFollow(second.thread.peek(), "Two"));
    await sleep(300);
    expect(thread.messages.peek()).toHaveLength(2);
    expect(thread.messages.peek()[1]).toBe(old);
  });

  test("earlier messages come page by page", async () => {
    const token = tokenOf("long");
    const thread = openChat({ token }).thread.peek();
    for (let index = 0; index < 20; index += 1) await thread.send(`Question ${index}`);
    await until(() => thread.running.peek() === null, 30);
    const second = openChat({ token });
    second.open(thread.id.peek());
    await until(() => second.thread.peek().hasEarlier.peek());
    expect(second.thread.peek().messages.peek()).toHaveLength(30);
    await second.thread.peek().loadEarlier();
    expect(second.thread.peek().hasEarlier.peek()).toBe(false);
    expect(textsOf(second.thread.peek())).toEqual(textsOf(thread));
  });
});
