/** What a message consists of, as it grows. */
import { batch, signal, type ReadonlySignal, type Signal } from "@preact/signals";
import type { CallFragment, WholeFragment } from "./generated/graphql";

/** What the model wants a tool to do, and what came of it. */
export type ToolCall = CallFragment;

export type TextKind = "text" | "reasoning";

/** A piece of a message: what it shows changes, what kind it is does not. */
export type Part =
  | { readonly type: TextKind; readonly text: ReadonlySignal<string> }
  | { readonly type: "toolCall"; readonly call: ReadonlySignal<ToolCall> };

type Cell =
  | { readonly type: TextKind; readonly text: Signal<string> }
  | { readonly type: "toolCall"; readonly call: Signal<ToolCall> };

type PartData = WholeFragment["parts"][number];

/** The parts of one message; the list is a new one only when a part comes or goes. */
export class Parts {
  readonly #cells = signal<readonly Cell[]>([]);

  get list(): ReadonlySignal<readonly Part[]> {
    return this.#cells;
  }

  /** Puts text at `offset` (a string index) of a part; what is there already stays as it is. */
  write(index: number, type: TextKind, offset: number, text: string): void {
    const cell = this.#cells.peek()[index];
    if (cell?.type !== type) {
      this.#put(index, { type, text: signal(text) });
      return;
    }
    const before = cell.text.peek();
    // A second time, after a connection was lost: what came later must not be cut off.
    if (!before.startsWith(text, offset)) cell.text.value = before.slice(0, offset) + text;
  }

  /** Puts a tool call, as it is now, in the place of a part. */
  call(index: number, call: ToolCall): void {
    const cell = this.#cells.peek()[index];
    if (cell?.type === "toolCall") {
      if (!isSameCall(cell.call.peek(), call)) cell.call.value = call;
    } else this.#put(index, { type: "toolCall", call: signal(call) });
  }

  /** Drops a part and all after it. */
  cut(index: number): void {
    if (index < this.#cells.peek().length) this.#cells.value = this.#cells.peek().slice(0, index);
  }

  /** Makes them equal to what the server has. */
  take(data: readonly PartData[]): void {
    batch(() => {
      this.cut(data.length);
      data.forEach((part, index) => {
        if (part.__typename === "ToolCallPart") this.call(index, part);
        else this.#set(index, part.__typename === "TextPart" ? "text" : "reasoning", part.text);
      });
    });
  }

  /** The text parts joined: the Markdown source. */
  readText(): string {
    return this.#cells
      .peek()
      .map((cell) => (cell.type === "text" ? cell.text.peek() : ""))
      .filter((text) => text !== "")
      .join("\n\n");
  }

  #set(index: number, type: TextKind, text: string): void {
    const cell = this.#cells.peek()[index];
    if (cell?.type === type) cell.text.value = text;
    else this.#put(index, { type, text: signal(text) });
  }

  /** What stood behind a part of another kind belongs to what was given up. */
  #put(index: number, cell: Cell): void {
    const before = this.#cells.peek().slice(0, index);
    while (before.length < index) before.push({ type: "text", text: signal("") });
    this.#cells.value = [...before, cell];
  }
}

function isSameCall(known: ToolCall, call: ToolCall): boolean {
  return (
    known.id === call.id && known.status === call.status && JSON.stringify(known) === JSON.stringify(call)
  );
}
