import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { Chat } from "./chat";
import { Client } from "./client";
import { MessageNowDocument } from "./generated/graphql";
import type { Message, ToolCall } from "./message";
import { findFreePort, MemoryStorage, provideWebSocket, RehearsalServer, until } from "./testing";
import { Tokens } from "./tokens";

vi.setConfig({ testTimeout: 60_000 });

let server: RehearsalServer;
let chat: Chat;

beforeAll(async () => {
  provideWebSocket();
  server = new RehearsalServer(await findFreePort());
  await server.start();
  chat = new Chat({ endpoint: server.endpoint, token: () => server.token, storage: new MemoryStorage() });
}, 60_000);

afterAll(async () => {
  chat.close();
  await server.remove();
});

async function say(text: string): Promise<Message> {
  const thread = chat.thread.peek();
  await thread.send(text);
  return until(() => thread.messages.peek().at(-1));
}

const callsOf = (message: Message): ToolCall[] =>
  message.parts.peek().flatMap((part) => (part.type === "toolCall" ? [part.call.peek()] : []));

test("a tool that adds a task changes the list, and one that asks first waits for the answer", async () => {
  chat.tasks.items.subscribe(() => {});
  const added = await say("Add milk to my list");
  await until(() => added.status.peek() === "COMPLETE");
  await until(() => chat.tasks.items.peek()[0]?.title.toLowerCase() === "milk");
  const reply = await say("Delete milk from my list");
  await until(() => reply.status.peek() === "AWAITING_APPROVAL");
  const call = callsOf(reply).find(({ status }) => status === "AWAITING_APPROVAL")!;
  const thread = chat.thread.peek();
  await thread.resolve(reply, call.id, false, "I still need it");
  await until(() => reply.status.peek() === "COMPLETE");
  expect(callsOf(reply).at(-1)?.status).toBe("DENIED");
  await expect(thread.resolve(reply, call.id, true)).rejects.toMatchObject({ code: "CONFLICT" });
  const again = await say("Delete milk from my list");
  await until(() => again.status.peek() === "AWAITING_APPROVAL");
  await thread.resolve(again, callsOf(again).at(-1)!.id, true);
  await until(() => again.status.peek() === "COMPLETE");
  expect(callsOf(again).at(-1)?.status).toBe("SUCCEEDED");
  await until(() => chat.tasks.items.peek().length === 0);
});

test("a reply whose server is killed in the middle is whole in the end, and as the server has it", async () => {
  chat.open(null);
  const reply = await say("Write 400 words about rivers");
  await until(() => reply.readText().length > 200);
  await server.end("SIGKILL");
  await until(() => chat.connection.peek() === "reconnecting");
  await server.start();
  await until(() => reply.status.peek() === "COMPLETE", 50);
  const client = new Client(server.endpoint, new Tokens(() => server.token));
  const { message } = await client.request(MessageNowDocument, { id: reply.id });
  const text = message?.parts.map((part) => ("text" in part ? part.text : "")).join("");
  expect(reply.readText()).toBe(text);
});
