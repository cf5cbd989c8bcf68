/** Subscriptions over one WebSocket, which comes back by itself and goes on where it was. */
import { backoff } from "./backoff";
import { documentOf } from "./document";
import { computed, signal, type ReadonlySignal } from "@preact/signals";
import { createClient, type Client } from "graphql-ws";
import { ServerError, toServerError, type GraphQLErrorLike } from "./errors";
import type { TypedDocumentString } from "./generated/graphql";
import type { Tokens } from "./tokens";
import { onNetwork, onWake } from "./wake";

const ACKNOWLEDGE_WITHIN_MS = 5_000;
const CONNECT_WITHIN_MS = 10_000;
const PING_EVERY_MS = 12_000;
const PONG_WITHIN_MS = 5_000;
const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 15_000;
const LINGER_MS = 30_000;
const REFUSALS = [4401, 4403];

export type Connection = "connected" | "reconnecting" | "offline";

/** Who reads a subscription: `end` comes once, with null where the server has ended it in order. */
export interface Sink<Data> {
  next(data: Data): void;
  end(error: ServerError | null): void;
}

interface Subscription {
  start(): void;
  stop(): void;
}

export class Socket {
  readonly connection: ReadonlySignal<Connection>;
  readonly #tokens: Tokens;
  readonly #client: Client;
  readonly #link = signal<"idle" | "up" | "down">("idle");
  readonly #isOnline = signal(true);
  readonly #subscriptions = new Set<Subscription>();
  readonly #parked = new Set<Subscription>();
  readonly #removers: (() => void)[];
  #token = "";
  #socket: WebSocket | null = null;
  #deadline: ReturnType<typeof setTimeout> | undefined;
  #unpark: ReturnType<typeof setTimeout> | undefined;
  #wasRefused = false;
  #skipWait = () => {};

  constructor(endpoint: URL, tokens: Tokens) {
    this.#tokens = tokens;
    this.connection = computed(() => {
      if (this.#link.value === "up") return "connected";
      if (!this.#isOnline.value) return "offline";
      return this.#link.value === "down" ? "reconnecting" : "connected";
    });
    this.#client = this.#create(addressOf(endpoint));
    this.#removers = [
      onNetwork((isOnline) => {
        this.#isOnline.value = isOnline;
        if (!isOnline) this.drop();
      }),
      onWake(() => this.#hurry()),
    ];
  }

  /**
   * Begins a subscription and gives the function that ends it; `variables` are asked again at each connection,
   * so that a cursor among them is the newest.
   */
  subscribe<Data, Variables extends Record<string, unknown>>(
    document: TypedDocumentString<Data, Variables>,
    variables: () => Variables,
    sink: Sink<Data>,
  ): () => void {
    const payload = {
      ...documentOf(document),
      get variables() {
        return variables();
      },
    };
    const isOpen = () => this.#subscriptions.has(subscription);
    const end = (error: ServerError | null) => {
      if (this.#remove(subscription)) sink.end(error);
    };
    const start = () => {
      subscription.stop = this.#client.subscribe<Data>(payload, {
        next: ({ data, errors }) => {
          if (!isOpen()) return;
          if (data && !errors) sink.next(data);
          else {
            subscription.stop();
            end(errors?.[0] ? toServerError(errors[0]) : null);
          }
        },
        error: (reason) => {
          if (isErrors(reason)) end(reason[0] ? toServerError(reason[0]) : null);
          else if (isOpen()) this.#park(subscription);
        },
        complete: () => end(null),
      });
    };
    const subscription: Subscription = { start, stop: () => {} };
    this.#subscriptions.add(subscription);
    start();
    return () => {
      if (this.#remove(subscription)) subscription.stop();
    };
  }

  /** Lets go of the connection: what is subscribed goes on over another, with the token of that moment. */
  drop(): void {
    this.#forgive();
    this.#client.terminate();
  }

  /** Ends everything, for good. */
  close(): void {
    for (const remove of this.#removers) remove();
    this.#forgive();
    clearTimeout(this.#unpark);
    const open = [...this.#subscriptions];
    this.#subscriptions.clear();
    this.#parked.clear();
    for (const subscription of open) subscription.stop();
    // Whoever waits to connect again is told that there is no need to, and so are we.
    Promise.resolve(this.#client.dispose()).catch(() => {});
    this.#client.terminate();
    this.#skipWait();
  }

  #create(address: string): Client {
    return createClient({
      url: async () => {
        // Before the socket opens: a server does not wait long for the token of one that is open.
        this.#token = await this.#tokens.current();
        this.#expect(CONNECT_WITHIN_MS);
        return address;
      },
      connectionParams: async () => ({ Authorization: `Bearer ${this.#token}` }),
      lazy: true,
      lazyCloseTimeout: LINGER_MS,
      keepAlive: PING_EVERY_MS,
      connectionAckWaitTimeout: ACKNOWLEDGE_WITHIN_MS,
      retryAttempts: Infinity,
      shouldRetry: () => true,
      retryWait: (retries) => this.#wait(retries),
      on: {
        connecting: (isRetry) => {
          if (isRetry) this.#lose();
        },
        connected: (socket) => {
          this.#forgive();
          this.#socket = socket as WebSocket;
          this.#tokens.accept(this.#token);
          this.#link.value = "up";
        },
        ping: (isReceived) => {
          if (!isReceived) this.#expect(PONG_WITHIN_MS);
        },
        pong: (isReceived) => {
          if (isReceived) this.#forgive();
        },
        // It may have been under way for long: it shows no more than that the answer may still come.
        message: () => {
          if (this.#deadline !== undefined) this.#expect(PONG_WITHIN_MS);
        },
        error: () => this.#lose(),
        closed: (event) => {
          this.#wasRefused = REFUSALS.includes((event as CloseEvent).code);
          if (this.#wasRefused) this.#tokens.refuse(this.#token);
          this.#lose();
        },
      },
    });
  }

  /** A dead network may never close a socket: let go of it unless something comes in time. */
  #expect(milliseconds: number): void {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.drop(), milliseconds);
  }

  #forgive(): void {
    clearTimeout(this.#deadline);
    this.#deadline = undefined;
  }

  #lose(): void {
    this.#forgive();
    this.#socket = null;
    this.#link.value = this.#subscriptions.size > 0 ? "down" : "idle";
  }

  #wait(retries: number): Promise<void> {
    const wait = backoff(retries, FIRST_WAIT_MS, LONGEST_WAIT_MS);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.#skipWait = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** The page is seen again, or the network is back: neither waits nor trusts what seems to be open. */
  #hurry(): void {
    this.#skipWait();
    this.#startParked();
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send('{"type":"ping"}');
    this.#expect(PONG_WITHIN_MS);
  }

  /** graphql-ws has given up, as it does after some codes: come back later, at once only for another token. */
  #park(subscription: Subscription): void {
    const wait = this.#wasRefused ? FIRST_WAIT_MS : LONGEST_WAIT_MS;
    this.#parked.add(subscription);
    clearTimeout(this.#unpark);
    this.#unpark = setTimeout(() => this.#startParked(), backoff(0, wait));
  }

  #startParked(): void {
    clearTimeout(this.#unpark);
    for (const subscription of [...this.#parked]) {
      this.#parked.delete(subscription);
      subscription.start();
    }
  }

  #remove(subscription: Subscription): boolean {
    this.#parked.delete(subscription);
    const wasOpen = this.#subscriptions.delete(subscription);
    if (this.#subscriptions.size === 0 && this.#link.peek() === "down") this.#link.value = "idle";
    return wasOpen;
  }
}

function addressOf(endpoint: URL): string {
  const address = new URL(endpoint);
  address.protocol = address.protocol.replace("http", "ws");
  return address.href;
}

function isErrors(reason: unknown): reason is readonly GraphQLErrorLike[] {
  return Array.isArray(reason);
}
