import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test, vi } from "vitest";
import { issueToken, until } from "./testing";
import {
  isDone,
  LONG,
  openChat,
  provideServer,
  proxy,
  sendAndFollow,
  textOnServer,
  tokenOf,
} from "./testing-chats";

provideServer();

describe("a reply as it is written", () => {
  test("is the server's text after five cuts, and never gets shorter on the way", async () => {
    const token = tokenOf("cut");
    const { thread } = openChat({ token });
    const reply = await sendAndFollow(thread.peek(), LONG);
    const part = await until(() => reply.parts.peek()[0]);
    const lengths: number[] = [];
    if (part.type === "text") part.text.subscribe((text) => lengths.push(text.length));
    for (let cut = 0; cut < 5; cut += 1) {
      await sleep(200);
      proxy.cut();
    }
    await isDone(reply);
    expect(reply.readText()).toBe(await textOnServer(token, reply.id));
    expect(reply.readText()).toContain("299");
    expect(lengths).toEqual([...lengths].sort((a, b) => a - b));
  });

  test("is whole after two seconds without a network", async () => {
    const token = tokenOf("offline");
    const chat = openChat({ token });
    const reply = await sendAndFollow(chat.thread.peek(), LONG);
    await until(() => reply.readText().length > 50);
    await proxy.close();
    await until(() => chat.connection.peek() === "reconnecting");
    await sleep(2000);
    await proxy.open();
    await isDone(reply);
    expect(chat.connection.peek()).toBe("connected");
    expect(reply.readText()).toBe(await textOnServer(token, reply.id));
  });

  test("is whole where the page was loaded anew in the middle", async () => {
    const token = tokenOf("reload");
    const first = openChat({ token });
    const { id } = await sendAndFollow(first.thread.peek(), LONG);
    await until(() => first.thread.peek().running.peek()!.readText().length > 50);
    first.close();
    const second = openChat({ token });
    second.open(first.thread.peek().id.peek());
    const reply = await until(() => second.thread.peek().running.peek());
    expect(reply.id).toBe(id);
    await isDone(reply);
    expect(reply.readText()).toBe(await textOnServer(token, id));
  });

  test("goes on after a connection that died without a word", async () => {
    const target = new EventTarget();
    vi.stubGlobal("addEventListener", target.addEventListener.bind(target));
    vi.stubGlobal("removeEventListener", target.removeEventListener.bind(target));
    const token = tokenOf("dead");
    const chat = openChat({ token });
    const reply = await sendAndFollow(chat.thread.peek(), LONG);
    await until(() => reply.readText().length > 50);
    proxy.freeze();
    target.dispatchEvent(new Event("focus"));
    await until(() => chat.connection.peek() === "reconnecting");
    await isDone(reply);
    expect(reply.readText()).toBe(await textOnServer(token, reply.id));
  });

  test("stops at once, keeps its text, and another message may follow", async () => {
    const token = tokenOf("stop");
    const thread = openChat({ token }).thread.peek();
    const reply = await sendAndFollow(thread, LONG);
    await until(() => reply.readText().length > 50);
    const stopped = thread.stop();
    expect(thread.running.peek()).toBe(null);
    expect(reply.readText().length).toBeGreaterThan(50);
    await stopped;
    await until(() => reply.status.peek() === "STOPPED");
    expect(reply.readText()).toBe(await textOnServer(token, reply.id));
    await isDone(await sendAndFollow(thread, "And now?"));
    expect(thread.messages.peek()).toHaveLength(4);
  });
});

describe("a token", () => {
  test("that ends in the middle is renewed, and the reply goes on", async () => {
    const tokens = [issueToken("renew", 2), issueToken("renew")];
    const asked = vi.fn(() => tokens.shift() ?? null);
    const chat = openChat({ token: asked });
    const reply = await sendAndFollow(chat.thread.peek(), "Say 400 words, 100 a second");
    await isDone(reply);
    expect(asked).toHaveBeenCalledTimes(2);
    expect(chat.access.peek()).toBe("granted");
    expect(reply.readText()).toBe(await textOnServer(tokenOf("renew"), reply.id));
  });

  test("that is not renewed is told, and everything goes on once there is one", async () => {
    let token: string | null = issueToken("late", 2);
    const chat = openChat({ token: () => token });
    const thread = chat.thread.peek();
    const reply = await sendAndFollow(thread, "Say 400 words, 100 a second");
    await until(() => chat.access.peek() === "refused");
    const sent = thread.send("Second");
    expect(await chat.renewToken()).toBe(false);
    token = null;
    expect(await chat.renewToken()).toBe(false);
    expect(thread.unsent.peek()[0]?.state.peek()).toBe("sending");
    token = issueToken("late");
    expect(await chat.renewToken()).toBe(true);
    expect(chat.access.peek()).toBe("granted");
    await sent;
    await isDone(reply);
    expect(reply.readText()).toBe(await textOnServer(() => token, reply.id));
    await until(() => thread.messages.peek()[3]?.status.peek() === "COMPLETE");
  });

  test("of which every new one is refused too is asked for once more only", async () => {
    const asked = vi.fn(() => issueToken("bad", -60 - asked.mock.calls.length));
    const chat = openChat({ token: asked });
    void chat.conversations.refresh();
    await until(() => chat.access.peek() === "refused");
    await sleep(300);
    expect(asked).toHaveBeenCalledTimes(2);
  });
});
