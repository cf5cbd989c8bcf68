import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { Chat } from "./chat";
import { issueToken, MemoryStorage, provideWebSocket, startServer, type TestServer, until } from "./testing";

vi.setConfig({ testTimeout: 30_000 });

let server: TestServer;
let chat: Chat;
let token: string | null;

beforeAll(async () => {
  provideWebSocket();
  server = await startServer();
}, 60_000);

afterEach(() => {
  vi.unstubAllGlobals();
  chat.close();
});

afterAll(() => server.stop());

/** A chat of Ann, whose token lasts some seconds. */
function openChatOfAnn(seconds = 3600): Chat {
  token = issueToken("ann", seconds);
  const endpoint = new URL("/graphql", server.origin);
  chat = new Chat({ endpoint, token: () => token, storage: new MemoryStorage() });
  chat.conversations.items.subscribe(() => {});
  chat.tasks.items.subscribe(() => {});
  return chat;
}

async function letBobIn(): Promise<void> {
  token = issueToken(`bob ${crypto.randomUUID()}`);
  expect(await chat.renewToken()).toBe(true);
}

const isRefused = () => until(() => chat.access.peek() === "refused");
const isSent = () => until(() => chat.thread.peek().messages.peek()[1]?.status.peek() === "COMPLETE");

test("does not get the draft of the one before", async () => {
  openChatOfAnn();
  await chat.conversations.refresh();
  chat.thread.peek().draft.value = "Ann's secret";
  await letBobIn();
  expect(chat.thread.peek().draft.peek()).toBe("");
  token = issueToken("ann");
  await chat.renewToken();
  expect(chat.thread.peek().draft.peek()).toBe("Ann's secret");
});

test("does not send what the one before could not send any more", async () => {
  openChatOfAnn(1);
  await chat.conversations.refresh();
  await until(() => Number(token && JSON.parse(atob(token.split(".")[1]!)).exp) * 1000 < Date.now() - 100);
  void chat.thread.peek().send("Ann's question");
  const task = chat.tasks.add("Ann's task").catch((error: Error) => error.message);
  await isRefused();
  await letBobIn();
  expect(await task).toBe("Somebody else has signed in.");
  await Promise.all([chat.conversations.refresh(), chat.tasks.refresh()]);
  expect([chat.conversations.items.peek(), chat.tasks.items.peek()]).toEqual([[], []]);
  expect(chat.thread.peek().unsent.peek()).toEqual([]);
  token = issueToken("ann");
  await chat.renewToken();
  await isSent();
  expect(chat.thread.peek().messages.peek()[0]?.readText()).toBe("Ann's question");
});

test("does not see a list come back that the one before had tried to change", async () => {
  openChatOfAnn();
  await chat.thread.peek().send("One");
  await chat.tasks.add("Ann's task");
  const [conversation] = await until(
    () => chat.conversations.items.peek()[0] && chat.conversations.items.peek(),
  );
  const [task] = chat.tasks.items.peek();
  const real = fetch;
  let fail = () => {};
  const failure = new Promise<Response>((_, reject) => (fail = () => reject(new TypeError("no network"))));
  vi.stubGlobal("fetch", (...given: Parameters<typeof fetch>) =>
    /mutation (Update|Complete)/.test(String(given[1]?.body)) ? failure : real(...given),
  );
  const changes = [chat.conversations.rename(conversation!.id, "Two"), chat.tasks.complete(task!.id, true)];
  await letBobIn();
  fail();
  expect((await Promise.allSettled(changes)).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect([chat.conversations.items.peek(), chat.tasks.items.peek()]).toEqual([[], []]);
});

test("gets a connection of their own", async () => {
  openChatOfAnn();
  await chat.thread.peek().send("One");
  await isSent();
  await letBobIn();
  await chat.thread.peek().send("Two");
  await isSent();
  expect(chat.thread.peek().state.peek()).toBe("ready");
});

test("finds neither the search nor the archive open", async () => {
  openChatOfAnn();
  chat.conversations.search.value = "secret";
  chat.conversations.archived.value = true;
  await chat.conversations.refresh();
  await letBobIn();
  expect(chat.conversations.search.peek()).toBe("");
  expect(chat.conversations.archived.peek()).toBe(false);
});
