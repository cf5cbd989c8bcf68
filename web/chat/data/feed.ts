/** Following a conversation as it changes, in this tab or elsewhere. */
import { backoff } from "./backoff";
import type { ServerError } from "./errors";
import { ConversationStreamDocument, type ConversationStreamSubscription } from "./generated/graphql";
import type { Socket } from "./socket";

export type ConversationEvent = ConversationStreamSubscription["conversationStream"];

/** Who reads a feed: `lost` comes where it cannot go on from its cursor, or at all. */
export interface FeedSink {
  heard(event: ConversationEvent): void;
  lost(reason: "cursor" | "gone"): void;
}

/** The events of one conversation after a cursor; while it is held they wait. */
export class Feed {
  readonly #socket: Socket;
  readonly #id: string;
  readonly #sink: FeedSink;
  #cursor: string;
  #late: ConversationEvent[] = [];
  #holds = 0;
  #failures = 0;
  #stop = () => {};
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  constructor(socket: Socket, id: string, cursor: string, sink: FeedSink) {
    this.#socket = socket;
    this.#id = id;
    this.#cursor = cursor;
    this.#sink = sink;
    this.#subscribe();
  }

  /** Lets events wait until `release`: the answer to a request may bring the same. */
  hold(): void {
    this.#holds += 1;
  }

  release(): void {
    this.#holds -= 1;
    this.#flush();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#stop();
  }

  #subscribe(): void {
    this.#stop = this.#socket.subscribe(
      ConversationStreamDocument,
      () => ({ id: this.#id, after: this.#cursor }),
      {
        next: ({ conversationStream: event }) => {
          this.#failures = 0;
          this.#cursor = event.cursor;
          this.#late.push(event);
          this.#flush();
        },
        end: (error) => this.#end(error),
      },
    );
  }

  #flush(): void {
    while (this.#holds === 0 && !this.#isClosed) {
      const event = this.#late.shift();
      if (!event) return;
      this.#sink.heard(event);
    }
  }

  #end(error: ServerError | null): void {
    if (this.#isClosed) return;
    if (error?.code === "FORBIDDEN") this.#sink.lost("gone");
    else if (error?.code === "BAD_USER_INPUT") this.#sink.lost("cursor");
    else {
      const wait = Math.max(backoff(this.#failures++), (error?.retryAfter ?? 0) * 1000);
      this.#timer = setTimeout(() => this.#subscribe(), wait);
    }
  }
}
