import { describe, expect, test } from "vitest";
import { until } from "./testing";
import { isDone, openChat, provideServer, sendAndFollow, tokenOf } from "./testing-chats";

provideServer();

describe("the lists", () => {
  test("conversations are renamed, archived, searched and deleted", async () => {
    const chat = openChat();
    const { conversations } = chat;
    conversations.items.subscribe(() => {});
    const ids: string[] = [];
    for (const text of ["Apples", "Pears"]) {
      chat.open(null);
      await isDone(await sendAndFollow(chat.thread.peek(), text));
      ids.push(chat.thread.peek().id.peek()!);
    }
    await until(() => conversations.items.peek().length === 2);
    await conversations.rename(ids[1]!, "About fruit");
    await until(() => chat.thread.peek().title.peek() === "About fruit");
    conversations.search.value = "apples";
    await until(() => conversations.items.peek().length === 1);
    expect(conversations.items.peek()[0]?.id).toBe(ids[0]);
    conversations.search.value = "";
    await until(() => conversations.items.peek().length === 2);
    await conversations.archive(ids[0]!, true);
    expect(conversations.items.peek().map(({ id }) => id)).toEqual([ids[1]]);
    conversations.archived.value = true;
    await until(() => conversations.items.peek()[0]?.id === ids[0]);
    await conversations.remove(ids[0]!);
    expect(conversations.items.peek()).toEqual([]);
  });

  test("tasks are added, done and removed, in all tabs", async () => {
    const token = tokenOf("tasks");
    const [first, second] = [openChat({ token }), openChat({ token })];
    second.tasks.items.subscribe(() => {});
    await until(() => second.tasks.state.peek() === "ready");
    await first.tasks.add("Milk");
    await until(() => second.tasks.items.peek()[0]?.title === "Milk");
    await second.tasks.complete(second.tasks.items.peek()[0]!.id, true);
    await first.tasks.refresh();
    expect(first.tasks.items.peek()[0]?.done).toBe(true);
    await first.tasks.remove(first.tasks.items.peek()[0]!.id);
    await until(() => second.tasks.items.peek().length === 0);
  });

  test("models are those of the server, and a conversation keeps the one chosen", async () => {
    const chat = openChat();
    chat.models.subscribe(() => {});
    const [model] = await until(() => chat.models.peek()[0] && chat.models.peek());
    expect(model?.isDefault).toBe(true);
    await chat.thread.peek().setModel(model!.name);
    await isDone(await sendAndFollow(chat.thread.peek(), "One"));
    expect(chat.thread.peek().model.peek()).toBe(model!.name);
    await expect(chat.thread.peek().setModel("no such model")).rejects.toMatchObject({
      code: "BAD_USER_INPUT",
    });
    expect(chat.thread.peek().model.peek()).toBe(model!.name);
  });
});
