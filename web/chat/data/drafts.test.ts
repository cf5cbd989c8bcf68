import { signal } from "@preact/signals";
import { expect, test } from "vitest";
import { Draft } from "./drafts";
import { Store } from "./store";
import { MemoryStorage } from "./testing";

test("a conversation that begins after it was left does not take the next one's draft away", () => {
  const kept = new Store(new MemoryStorage(), "ann");
  const store = signal<Store | null>(kept);
  const left = new Draft(null, store);
  left.close();
  const next = new Draft(null, store);
  next.text.value = "half a thou";
  left.moveTo("1");
  expect(kept.get("draft new")).toBe("half a thou");
});
