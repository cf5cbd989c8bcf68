import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { Chat, type TokenSource } from "./chat";
import { Client } from "./client";
import { MessageNowDocument } from "./generated/graphql";
import type { Message } from "./message";
import {
  issueToken,
  MemoryStorage,
  provideWebSocket,
  Proxy,
  startServer,
  type TestServer,
  until,
} from "./testing";
import type { Thread } from "./thread";
import { Tokens } from "./tokens";

const LONG = "Say 300 words, 150 a second";

vi.setConfig({ testTimeout: 30_000 });

let server: TestServer;
let proxy: Proxy;
const chats: Chat[] = [];

beforeAll(async () => {
  provideWebSocket();
  server = await startServer();
  proxy = await new Proxy(server.origin).open();
}, 60_000);

afterEach(() => {
  vi.unstubAllGlobals();
  for (const chat of chats.splice(0)) chat.close();
});

afterAll(async () => {
  await proxy.close();
  await server.stop();
});

/** A chat of a user of its own, unless one is given. */
function openChat({
  storage = new MemoryStorage() as Storage | null,
  token = tokenOf(crypto.randomUUID()),
} = {}): Chat {
  const chat = new Chat({ endpoint: proxy.endpoint, token, storage });
  chats.push(chat);
  return chat;
}

function tokenOf(subject: string): TokenSource {
  const token = issueToken(subject);
  return () => token;
}

/** What the server has of a message. */
async function textOnServer(token: TokenSource, id: string): Promise<string> {
  const client = new Client(new URL("/graphql", server.origin), new Tokens(token));
  const { message } = await client.request(MessageNowDocument, { id });
  return message?.parts.map((part) => ("text" in part ? part.text : "")).join("") ?? "";
}

async function sendAndFollow(thread: Thread, text: string): Promise<Message> {
  await thread.send(text);
  return until(() => thread.running.peek());
}

const isDone = (message: Message) => until(() => message.status.peek() === "COMPLETE");
const textsOf = (thread: Thread) => thread.messages.peek().map((message) => message.readText());

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
