/** What the tests of this folder share: a server, a way to it that can be cut, and a storage. */
import { WebSocket as NodeWebSocket } from "ws";
import { spawn, type ChildProcess } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const REPOSITORY = new URL("../../../", import.meta.url);
const SECRET = "a secret that only the tests know, long enough for HS256";

/** A Loquent with a database and a scripted model of its own: it says as many words as it is asked for. */
export interface TestServer {
  readonly origin: string;
  stop(): Promise<void>;
}

export async function startServer(): Promise<TestServer> {
  const python = spawn(".venv/bin/python", ["-m", "tests.clients.server"], {
    cwd: REPOSITORY,
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = once(python, "exit");
  const told = createInterface(python.stdout)[Symbol.asyncIterator]().next();
  const line = await Promise.race([told, ended.then(() => null)]);
  if (!line || line.done) throw new Error("the server did not start");
  const { url } = JSON.parse(line.value) as { url: string };
  return {
    origin: url,
    async stop() {
      python.stdin.end();
      await ended;
    },
  };
}

/** A token that the test server lets in for some seconds. */
export function issueToken(subject: string, seconds = 3600): string {
  const now = Date.now() / 1000;
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { sub: subject, iat: Math.floor(now), exp: now + seconds };
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

/** A way to a server that can be cut, held back, and taken away. */
export class Proxy {
  readonly #target: URL;
  readonly #sockets = new Set<Socket>();
  readonly #listener = createServer((near) => this.#join(near));
  #port = 0;

  constructor(target: string) {
    this.#target = new URL(target);
  }

  get endpoint(): URL {
    return new URL(`http://127.0.0.1:${this.#port}/graphql`);
  }

  /** Takes connections, always on the same port. */
  async open(): Promise<this> {
    this.#listener.listen(this.#port, "127.0.0.1");
    await once(this.#listener, "listening");
    this.#port = (this.#listener.address() as AddressInfo).port;
    return this;
  }

  /** Resets every connection there is. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Lets nothing more through on the connections there are, without a word. */
  freeze(): void {
    for (const socket of this.#sockets) socket.unpipe().pause();
  }

  async close(): Promise<void> {
    const closed = once(this.#listener, "close");
    this.#listener.close();
    this.cut();
    await closed;
  }

  #join(near: Socket): void {
    const far = connect({ host: this.#target.hostname, port: Number(this.#target.port) });
    const pairs: readonly (readonly [Socket, Socket])[] = [
      [near, far],
      [far, near],
    ];
    for (const [socket, other] of pairs) {
      this.#sockets.add(socket);
      socket.pipe(other);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
  }
}

/** A storage as browsers have it. */
export class MemoryStorage implements Storage {
  readonly #texts = new Map<string, string>();
  [name: string]: unknown;

  get length(): number {
    return this.#texts.size;
  }

  key(index: number): string | null {
    return [...this.#texts.keys()][index] ?? null;
  }

  getItem(key: string): string | null {
    return this.#texts.get(key) ?? null;
  }

  setItem(key: string, text: string): void {
    this.#texts.set(key, text);
  }

  removeItem(key: string): void {
    this.#texts.delete(key);
  }

  clear(): void {
    this.#texts.clear();
  }
}

/** Waits until something holds, and gives it. */
export async function until<Value>(
  look: () => Value | null | undefined | false,
  seconds = 15,
): Promise<Value> {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const value = look();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`it did not come: ${look.toString()}`);
    await sleep(10);
  }
}

/** What `server dev` starts, with its rehearsal model, which uses tools; it can be killed and started again. */
export class RehearsalServer {
  readonly #directory = mkdtempSync(join(tmpdir(), "loquent-"));
  readonly #port: number;
  #process: ChildProcess | null = null;
  token = "";

  constructor(port: number) {
    this.#port = port;
  }

  get endpoint(): URL {
    return new URL(`http://127.0.0.1:${this.#port}/graphql`);
  }

  async start(): Promise<void> {
    const python = spawn(".venv/bin/python", ["-m", "server", "dev"], {
      cwd: REPOSITORY,
      env: { ...process.env, LOQUENT_DATA_DIR: this.#directory, LOQUENT_PORT: String(this.#port) },
      stdio: ["ignore", "pipe", "ignore"],
    });
    this.#process = python;
    for await (const line of createInterface(python.stdout)) {
      const found = /Token +(\S+)/.exec(line);
      if (!found?.[1]) continue;
      this.token = found[1];
      python.stdout.resume();
      return;
    }
    throw new Error("the server did not start");
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    if (!this.#process) return;
    const ended = once(this.#process, "exit");
    this.#process.kill(signal);
    await ended;
    this.#process = null;
  }

  /** Ends it and leaves nothing behind. */
  async remove(): Promise<void> {
    await this.end("SIGTERM");
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** A port that nobody listens on at the moment. */
export async function findFreePort(): Promise<number> {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  listener.close();
  return port;
}

/** A WebSocket for a Node that has none; as in a browser, one that is closed too early throws nothing. */
export function provideWebSocket(): void {
  globalThis.WebSocket ??= class extends NodeWebSocket {
    constructor(...given: ConstructorParameters<typeof NodeWebSocket>) {
      super(...given);
      this.on("error", () => {});
    }
  } as unknown as typeof WebSocket;
}
