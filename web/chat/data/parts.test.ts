import { describe, expect, test } from "vitest";
import type { WholeFragment } from "./generated/graphql";
import { Message, type StreamEvent } from "./message";

const TEXT = "Grüße, 日本語, 👍🏽 and 👩‍👩‍👧: *one* `two` **three**. ".repeat(20);

/** Numbers that look random, and are the same in every run. */
function createRandom(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return state % limit;
  };
}

function newReply(): Message {
  return new Message(dataOf([]));
}

function dataOf(parts: WholeFragment["parts"], status: WholeFragment["status"] = "QUEUED"): WholeFragment {
  return {
    id: "m1",
    role: "ASSISTANT",
    status,
    createdAt: "2026-11-22T08:00:00Z",
    cursor: "start",
    model: null,
    rating: null,
    parent: { id: "q1" },
    versions: [{ id: "m1" }],
    parts,
    error: null,
  };
}

function delta(part: number, offset: number, text: string): StreamEvent {
  return { __typename: "TextDelta", cursor: `${part}:${offset + text.length}`, part, offset, text };
}

/** A text in pieces of random sizes, which may part what belongs together. */
function split(part: number, text: string, random: (limit: number) => number): StreamEvent[] {
  const events: StreamEvent[] = [];
  for (let offset = 0; offset < text.length;) {
    const piece = text.slice(offset, offset + 1 + random(12));
    events.push(delta(part, offset, piece));
    offset += piece.length;
  }
  return events;
}

describe("text that comes in pieces", () => {
  test.each([...Array(30).keys()])(
    "is whole, and never shorter on the way, although pieces come again (%i)",
    (seed) => {
      const random = createRandom(seed + 1);
      const reply = newReply();
      const events = split(0, TEXT, random);
      let longest = 0;
      for (let index = 0; index < events.length; index += 1) {
        reply.apply(events[index]!);
        expect(reply.readText().length).toBeGreaterThanOrEqual(longest);
        longest = reply.readText().length;
        // The connection is lost: it goes on at an older cursor.
        if (random(10) === 0) index -= random(Math.min(index + 1, 8));
      }
      expect(reply.readText()).toBe(TEXT);
      expect(reply.cursor).toBe(`0:${TEXT.length}`);
    },
  );

  test.each([...Array(30).keys()])("is the newest attempt's after a restart from any part (%i)", (seed) => {
    const random = createRandom(seed + 100);
    const reply = newReply();
    const given = random(3);
    const lost = split(given, TEXT, random).slice(0, 1 + random(50));
    for (let part = 0; part < given; part += 1) reply.apply(delta(part, 0, `part ${part}`));
    for (const event of [...lost, ...lost]) reply.apply(event);
    const restart: StreamEvent = { __typename: "StreamRestarted", cursor: "again", part: given };
    const anew = split(given, [...TEXT].reverse().join(""), random);
    for (const event of [restart, ...anew.slice(0, 20), restart, ...anew]) reply.apply(event);
    const before = [...Array(given).keys()].map((part) => `part ${part}`);
    expect(reply.readText()).toBe([...before, [...TEXT].reverse().join("")].join("\n\n"));
  });

  test("changes one signal only: the list of parts stays the same", () => {
    const reply = newReply();
    reply.apply(delta(0, 0, "One"));
    const list = reply.parts.peek();
    reply.apply(delta(0, 3, " two"));
    expect(reply.parts.peek()).toBe(list);
    expect(reply.readText()).toBe("One two");
  });
});

describe("a tool call", () => {
  const call = { id: "t1", tool: "deleteTask", parameters: { id: "7" }, result: null };
  const events: StreamEvent[] = [
    delta(0, 0, "Let me see."),
    { __typename: "ToolCallStarted", cursor: "1", part: 1, toolCall: { ...call, status: "RUNNING" } },
    {
      __typename: "ToolCallAwaitingApproval",
      cursor: "2",
      part: 1,
      toolCall: { ...call, status: "AWAITING_APPROVAL" },
    },
    {
      __typename: "ToolCallFinished",
      cursor: "3",
      part: 1,
      toolCall: { ...call, status: "SUCCEEDED", result: "yes" },
    },
    delta(2, 0, "Done."),
  ];

  test("is one part that changes, also when its events come twice", () => {
    const reply = newReply();
    const states: string[] = [];
    for (const event of events) {
      reply.apply(event);
      reply.apply(event);
      states.push(reply.status.peek());
    }
    expect(states).toEqual(["STREAMING", "STREAMING", "AWAITING_APPROVAL", "STREAMING", "STREAMING"]);
    const part = reply.parts.peek()[1];
    expect(part?.type === "toolCall" && part.call.peek()).toMatchObject({
      status: "SUCCEEDED",
      result: "yes",
    });
    expect(reply.readText()).toBe("Let me see.\n\nDone.");
  });
});

describe("a message read from the server", () => {
  test("keeps the parts that it has, and their signals", () => {
    const reply = newReply();
    reply.apply(delta(0, 0, "On"));
    const [part] = reply.parts.peek();
    reply.take(dataOf([{ __typename: "TextPart", text: "One" }], "COMPLETE"));
    expect(reply.parts.peek()[0]).toBe(part);
    expect(reply.readText()).toBe("One");
    expect(reply.isRunning.peek()).toBe(false);
  });

  test("drops the parts that the server does not have", () => {
    const reply = newReply();
    reply.apply(delta(0, 0, "One"));
    reply.apply(delta(1, 0, "Two"));
    reply.take(dataOf([{ __typename: "ReasoningPart", text: "Hm" }], "STOPPED"));
    expect(reply.parts.peek().map(({ type }) => type)).toEqual(["reasoning"]);
  });

  test("does not run from the moment on when it is to stop", () => {
    const reply = newReply();
    reply.markStopping(true);
    expect([reply.isRunning.peek(), reply.status.peek()]).toEqual([false, "QUEUED"]);
  });
});
