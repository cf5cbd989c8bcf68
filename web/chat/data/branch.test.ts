import { expect, test } from "vitest";
import { Branch } from "./branch";
import type { MessageData } from "./message";
import type { Server } from "./reply";

function reply(status: MessageData["status"], text: string): MessageData {
  return {
    id: "reply",
    role: "ASSISTANT",
    status,
    createdAt: "2026-11-01T12:00:00Z",
    cursor: text,
    model: null,
    rating: null,
    parent: null,
    versions: [{ id: "reply" }],
    parts: [{ __typename: "TextPart", text }],
    error: null,
  };
}

test("a reply that has ended does not begin again by an answer that was late", () => {
  const branch = new Branch({} as Server, { heard() {}, finished() {} });
  const message = branch.know(reply("COMPLETE", "All of it"));
  branch.know(reply("STREAMING", "All"));
  expect([message.status.peek(), message.readText()]).toEqual(["COMPLETE", "All of it"]);
});
