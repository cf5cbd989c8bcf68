/** Following a reply as it is written. */
import { backoff } from "./backoff";
import type { Client } from "./client";
import { ServerError } from "./errors";
import { MessageNowDocument, MessageStreamDocument } from "./generated/graphql";
import { isFinished, type Message, type StreamEvent } from "./message";
import type { Socket } from "./socket";

/** The ways to the server. */
export interface Server {
  readonly client: Client;
  readonly socket: Socket;
}

/** Follows a message from its cursor to its end; should its stream end early, from its newest state. */
export class ReplyReader {
  readonly #server: Server;
  readonly #message: Message;
  readonly #heard: (event: StreamEvent | null) => void;
  #stop = () => {};
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #isClosed = false;

  /** `heard` gets each event once it is applied, and null where the message was read anew. */
  constructor(server: Server, message: Message, heard: (event: StreamEvent | null) => void) {
    this.#server = server;
    this.#message = message;
    this.#heard = heard;
    this.#subscribe();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#stop();
  }

  #subscribe(): void {
    const message = this.#message;
    this.#stop = this.#server.socket.subscribe(
      MessageStreamDocument,
      () => ({ id: message.id, after: message.cursor }),
      {
        next: ({ messageStream: event }) => {
          this.#failures = 0;
          message.apply(event);
          this.#heard(event);
        },
        end: (error) => this.#end(error),
      },
    );
  }

  #end(error: ServerError | null): void {
    if (this.#isClosed || isFinished(this.#message.status.peek())) return;
    const wait = Math.max(backoff(this.#failures++), (error?.retryAfter ?? 0) * 1000);
    this.#timer = setTimeout(() => void this.#readAgain(), wait);
  }

  async #readAgain(): Promise<void> {
    try {
      const { message } = await this.#server.client.request(MessageNowDocument, { id: this.#message.id });
      if (this.#isClosed) return;
      // It is gone with its conversation, whose own stream says so.
      if (!message) return;
      this.#message.take(message);
      this.#heard(null);
    } catch (error) {
      if (error instanceof ServerError && error.code === "FORBIDDEN") return;
      // The network is down: the subscription waits for it.
    }
    if (!this.#isClosed && !isFinished(this.#message.status.peek())) this.#subscribe();
  }
}
