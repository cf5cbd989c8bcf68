/** One message: what the user said, or a reply as it is written. */
import { batch, computed, signal, type ReadonlySignal } from "@preact/signals";
import type {
  FailureFragment,
  MessageRole,
  MessageStatus,
  MessageStreamSubscription,
  Rating,
  WholeFragment,
} from "./generated/graphql";
import { Parts, type Part } from "./parts";

export type { Part, ToolCall } from "./parts";

/** Why a reply could not be written. */
export type MessageError = FailureFragment;

/** A message as the server gives it. */
export type MessageData = WholeFragment;

export type StreamEvent = MessageStreamSubscription["messageStream"];

const UNFINISHED: readonly MessageStatus[] = ["QUEUED", "STREAMING", "AWAITING_APPROVAL"];

/** Whether nothing will change it any more. */
export function isFinished(status: MessageStatus): boolean {
  return !UNFINISHED.includes(status);
}

export class Message {
  /** For rendering: a message that was sent from here keeps the key that it had on its way. */
  readonly key: string;
  readonly id: string;
  readonly role: MessageRole;
  readonly createdAt: string;
  readonly parentId: string | null;
  /** False at once when it is to stop, although its last words may still come. */
  readonly isRunning: ReadonlySignal<boolean>;
  /** Where its stream goes on from the state shown. */
  cursor: string;
  readonly #parts = new Parts();
  readonly parts: ReadonlySignal<readonly Part[]> = this.#parts.list;
  readonly #status = signal<MessageStatus>("QUEUED");
  readonly status: ReadonlySignal<MessageStatus> = this.#status;
  readonly #isStopping = signal(false);
  readonly #error = signal<MessageError | null>(null);
  readonly error: ReadonlySignal<MessageError | null> = this.#error;
  readonly #rating = signal<Rating | null>(null);
  readonly rating: ReadonlySignal<Rating | null> = this.#rating;
  readonly #model = signal<string | null>(null);
  readonly model: ReadonlySignal<string | null> = this.#model;
  readonly #versions = signal<readonly string[]>([]);
  /** The ids of all versions, its own included, oldest first. */
  readonly versions: ReadonlySignal<readonly string[]> = this.#versions;

  constructor(data: MessageData, key: string = data.id) {
    this.key = key;
    this.id = data.id;
    this.role = data.role;
    this.createdAt = data.createdAt;
    this.parentId = data.parent?.id ?? null;
    this.cursor = data.cursor;
    this.isRunning = computed(() => !isFinished(this.#status.value) && !this.#isStopping.value);
    this.take(data);
  }

  /** The Markdown source. */
  readText(): string {
    return this.#parts.readText();
  }

  /** Makes it equal to what the server gave. */
  take(data: MessageData): void {
    batch(() => {
      this.cursor = data.cursor;
      this.#parts.take(data.parts);
      this.#status.value = data.status;
      if (data.error?.code !== this.#error.peek()?.code) this.#error.value = data.error;
      this.#rating.value = data.rating;
      this.#model.value = data.model;
      this.takeVersions(data.versions.map(({ id }) => id));
    });
  }

  /** Applies one event of its stream; to apply it a second time changes nothing. */
  apply(event: StreamEvent): void {
    batch(() => {
      this.cursor = event.cursor;
      switch (event.__typename) {
        case "TextDelta":
          this.#parts.write(event.part, "text", event.offset, event.text);
          break;
        case "ReasoningDelta":
          this.#parts.write(event.part, "reasoning", event.offset, event.text);
          break;
        case "StreamRestarted":
          this.#parts.cut(event.part);
          break;
        case "MessageFinished":
          this.take(event.message);
          return;
        default:
          this.#parts.call(event.part, event.toolCall);
      }
      this.#status.value =
        event.__typename === "ToolCallAwaitingApproval" ? "AWAITING_APPROVAL" : "STREAMING";
    });
  }

  /** Shows it as stopped, before the server has said so; or as running again, where that failed. */
  markStopping(isStopping: boolean): void {
    this.#isStopping.value = isStopping;
  }

  markRating(rating: Rating | null): void {
    this.#rating.value = rating;
  }

  /** Takes a list of versions in, unless a longer one is known: versions only come. */
  takeVersions(ids: readonly string[]): void {
    const known = this.#versions.peek();
    if (ids.length > known.length) this.#versions.value = ids;
  }
}
