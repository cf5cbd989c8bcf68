import { spawn, type ChildProcess } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Answer } from "./model.ts";

const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));
const SECRET = "a secret that only the tests know, long enough for HS256";

export interface StartOptions {
  /** `dev` (default): the pages have a token, that of "developer", and GraphiQL is there; `serve`: neither. */
  command?: "dev" | "serve";
  /** More environment variables of the server. */
  environment?: Record<string, string>;
}

/** A Loquent with a PostgreSQL and a scripted model of its own: real processes, which may be killed. */
export class Server {
  /** Where it serves, without a slash at the end; the same after a restart. */
  readonly url: string;
  readonly #python: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #environment: Record<string, string>;
  #last: Promise<unknown> = Promise.resolve();
  #started: string | null = null;

  private constructor(url: string, environment: Record<string, string>) {
    this.url = url;
    this.#environment = environment;
    this.#python = spawn(".venv/bin/python", ["-m", "tests.browser.server"], {
      cwd: REPOSITORY,
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#answers = createInterface(this.#python.stdout!)[Symbol.asyncIterator]();
  }

  /** Starts it all; `environment` is for every start of the server. */
  static async launch(environment: Record<string, string> = {}): Promise<Server> {
    const server = new Server(`http://127.0.0.1:${await findPort()}`, environment);
    await server.start();
    return server;
  }

  /** The address of the GraphQL endpoint. */
  get endpoint(): string {
    return `${this.url}/graphql`;
  }

  /** Starts the server process, on the port and the database that it had. */
  async start({ command = "dev", environment = {} }: StartOptions = {}): Promise<void> {
    const port = Number(new URL(this.url).port);
    await this.#ask("start", { command, port, environment: { ...this.#environment, ...environment } });
    this.#started = JSON.stringify({ command, environment });
  }

  /** Ends the server process without a warning, as a power failure would. */
  async kill(): Promise<void> {
    this.#started = null;
    await this.#ask("stop", { signal: 9 });
  }

  /** Ends the server process as an operator does, and waits for its end. */
  async stop(): Promise<void> {
    this.#started = null;
    await this.#ask("stop", { signal: 15 });
  }

  /** Stops and starts with other options; the next test has the usual ones again. */
  async restart(options: StartOptions = {}): Promise<void> {
    await this.stop();
    await this.start(options);
  }

  /** What the model answers to the next requests, in this order, each once. */
  async script(...answers: Answer[]): Promise<void> {
    await this.#ask("script", { answers });
  }

  /** The requests that the model got in this test. */
  async requests(): Promise<{ messages: { role: string; content: unknown }[]; model: string }[]> {
    return (await this.#ask("requests")) as never;
  }

  /** Many stored conversations of "user0" at once, of so many messages in all. */
  async seed(amount: { conversations: number; messages: number }): Promise<void> {
    await this.#ask("seed", amount);
  }

  /** What the server process has logged. */
  async log(): Promise<string> {
    return String(await this.#ask("log"));
  }

  /** The state that every test begins with: the usual server, no rows, no script. */
  async reset(): Promise<void> {
    const usual = JSON.stringify({ command: "dev", environment: {} });
    if (this.#started !== usual) await this.restart();
    await this.#ask("reset");
  }

  /** A bearer token; `lifetime` in seconds, negative for one that has expired. */
  token(owner: "developer" | "ann" | "bob" | (string & {}), lifetime = 3600): string {
    const now = Math.floor(Date.now() / 1000);
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const claims = { sub: owner, iat: Math.min(now, now + lifetime), exp: now + lifetime };
    const body = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
    return `${body}.${createHmac("sha256", SECRET).update(body).digest("base64url")}`;
  }

  /** The `data` of an operation, past the browser; throws where there are errors. */
  async execute<Data = any>(query: string, variables: object = {}, owner = "developer"): Promise<Data> {
    const response = await fetch(this.endpoint, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${this.token(owner)}` },
      body: JSON.stringify({ query, variables }),
    });
    const { data, errors } = (await response.json()) as { data: Data; errors?: object[] };
    if (errors) throw new Error(JSON.stringify(errors));
    return data;
  }

  /** Ends everything. */
  async close(): Promise<void> {
    const ended = once(this.#python, "exit");
    this.#python.stdin!.end();
    await ended;
  }

  /** One command after the other: an answer says nothing of which it is for. */
  #ask(name: string, options: object = {}): Promise<unknown> {
    const answer = this.#last.then(async () => {
      this.#python.stdin!.write(`${JSON.stringify({ do: name, ...options })}\n`);
      const { value, done } = await this.#answers.next();
      if (done) throw new Error("the process of tests.browser.server has ended");
      const { result, error } = JSON.parse(value);
      if (error) throw new Error(`${name}: ${error}`);
      return result as unknown;
    });
    this.#last = answer.catch(() => {});
    return answer;
  }
}

/** A port of this machine that nobody listens on. */
async function findPort(): Promise<number> {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  listener.close();
  await once(listener, "close");
  return port;
}
