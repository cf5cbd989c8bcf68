import { describe, expect, test } from "vitest";
import { Outbox } from "./outbox";
import { Store } from "./store";
import { MemoryStorage } from "./testing";

const ME = {};
const textsOf = (outbox: Outbox, id: string | null) => outbox.of(id, ME).map(({ text }) => text);

function openOutbox(storage: Storage | null, owner = "ann") {
  const outbox = new Outbox();
  const meant = outbox.open(new Store(storage, owner));
  return { outbox, meant };
}

describe("an unsent message", () => {
  test("is kept under its key for its own conversation until it is removed", () => {
    const storage = new MemoryStorage();
    const { outbox } = openOutbox(storage);
    const one = outbox.add({ conversationId: "c1", text: "One" });
    outbox.add({ conversationId: "c2", text: "Two" });
    outbox.mark(one, "The server cannot be reached.");
    const { outbox: again } = openOutbox(storage);
    expect([textsOf(again, "c1"), textsOf(again, "c2")]).toEqual([["One"], ["Two"]]);
    expect(again.of("c1", ME)[0]?.key).toBe(one.key);
    expect(again.of("c1", ME)[0]?.problem.peek()).toBe("The server cannot be reached.");
    again.remove(again.of("c1", ME)[0]!);
    expect(textsOf(openOutbox(storage).outbox, "c1")).toEqual([]);
    expect(textsOf(openOutbox(storage).outbox, "c2")).toEqual(["Two"]);
  });

  test("is to be sent again where it was on its way, and not where it had failed", () => {
    const storage = new MemoryStorage();
    const { outbox } = openOutbox(storage);
    outbox.add({ conversationId: null, text: "On its way" });
    outbox.mark(outbox.add({ conversationId: null, text: "Failed" }), "No.");
    const { meant } = openOutbox(storage);
    expect(meant.map(({ text }) => text)).toEqual(["On its way"]);
  });

  test("waits for the user where it was on its way long ago", () => {
    const storage = new MemoryStorage();
    openOutbox(storage).outbox.add({ conversationId: "c1", text: "One" });
    const outbox = new Outbox();
    expect(outbox.open(new Store(storage, "ann"), Date.now() + 3_600_000)).toEqual([]);
    expect(outbox.of("c1", ME)[0]?.state.peek()).toBe("failed");
  });

  test("goes with the conversation that another one has begun", () => {
    const storage = new MemoryStorage();
    const { outbox } = openOutbox(storage);
    const entry = outbox.add({ conversationId: null, text: "One" });
    outbox.moveTo(entry, "c1");
    expect(textsOf(openOutbox(storage).outbox, "c1")).toEqual(["One"]);
  });

  test("of a new conversation is not shown in the next one while it is being sent", () => {
    const { outbox } = openOutbox(null);
    const entry = outbox.add({ conversationId: null, text: "One" });
    entry.sender.value = {};
    expect(textsOf(outbox, null)).toEqual([]);
    outbox.mark(entry, "No.");
    expect(textsOf(outbox, null)).toEqual(["One"]);
  });

  test("of one user is not another's", () => {
    const storage = new MemoryStorage();
    openOutbox(storage, "ann").outbox.add({ conversationId: null, text: "One" });
    expect(openOutbox(storage, "bob").outbox.of(null, ME)).toEqual([]);
  });

  test("that was written before the owner was known is kept from then on", () => {
    const storage = new MemoryStorage();
    const outbox = new Outbox();
    outbox.add({ conversationId: "c1", text: "One" });
    outbox.open(new Store(storage, "ann"));
    expect(textsOf(openOutbox(storage).outbox, "c1")).toEqual(["One"]);
  });

  test("is no harm where what is kept is not ours", () => {
    const storage = new MemoryStorage();
    storage.setItem("loquent ann unsent k1", "{");
    storage.setItem("loquent ann unsent k2", "7");
    expect(openOutbox(storage).meant).toEqual([]);
  });
});
