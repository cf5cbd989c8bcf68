/** What tests of chats share: a server and a way to it that can be cut, chats of users, and what they say. */
import { afterAll, afterEach, beforeAll, vi } from "vitest";
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

/** What the model obeys for two seconds. */
export const LONG = "Say 300 words, 150 a second";

let server: TestServer;
/** The way of all chats to the server, once the tests run. */
export let proxy: Proxy;
const chats: Chat[] = [];

/** Gives the tests of a file a server of their own, and closes their chats after each; to be called at its top. */
export function provideServer(): void {
  vi.setConfig({ testTimeout: 30_000 });

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
}

/** A chat of a user of its own, unless one is given. */
export function openChat({
  storage = new MemoryStorage() as Storage | null,
  token = tokenOf(crypto.randomUUID()),
} = {}): Chat {
  const chat = new Chat({ endpoint: proxy.endpoint, token, storage });
  chats.push(chat);
  return chat;
}

/** The access of a user. */
export function tokenOf(subject: string): TokenSource {
  const token = issueToken(subject);
  return () => token;
}

/** What the server has of a message. */
export async function textOnServer(token: TokenSource, id: string): Promise<string> {
  const client = new Client(new URL("/graphql", server.origin), new Tokens(token));
  const { message } = await client.request(MessageNowDocument, { id });
  return message?.parts.map((part) => ("text" in part ? part.text : "")).join("") ?? "";
}

/** Sends a message; the reply, as soon as it is being written. */
export async function sendAndFollow(thread: Thread, text: string): Promise<Message> {
  await thread.send(text);
  return until(() => thread.running.peek());
}

/** Waits until a reply is complete. */
export const isDone = (message: Message) => until(() => message.status.peek() === "COMPLETE");
/** What is said on the branch that is shown. */
export const textsOf = (thread: Thread) => thread.messages.peek().map((message) => message.readText());
