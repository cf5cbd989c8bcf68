import { expect, type Locator, type Page } from "@playwright/test";
import { test as base } from "./fixtures.ts";
import type { ForeignSite } from "./foreign-site.ts";
import type { Server } from "./server.ts";

/** Words to say one after the other: a pace makes a long reply of them. */
export const LONG = Array.from({ length: 120 }, (_, index) => `word${index}`).join(" ");

/** A reply with emphasis, a list and code. */
export const ANSWER = `Green tea likes **70 to 80 °C**; hotter, and it turns bitter.

1. Warm the pot.
2. Two grams for a cup.
3. Steep for *two minutes*.

\`\`\`python
def steep(tea: Tea) -> Cup:
    return tea.brew(celsius=75, minutes=2)
\`\`\``;

/** What pages use of the element. */
export interface LoquentChat extends HTMLElement {
  conversation: string | null;
  open(): void;
  send(text: string): Promise<void>;
}

declare global {
  interface HTMLElementTagNameMap {
    "loquent-chat": LoquentChat;
  }
}

export interface Embedding {
  /** Attributes of the element; the endpoint is that of the server, or of the URL of `network`. */
  attributes?: string;
  /** HTML in place of the element. */
  body?: string;
  head?: string;
  /** More directives of the site's policy. */
  policy?: string;
  /** `<script …>` of the widget. */
  script?: string;
  /** Whether the site has scripts of its own within its HTML. */
  own?: boolean;
  /** Where the widget finds the server. */
  through?: string;
  path?: string;
}

/** `<loquent-chat>` on somebody else's site, under the strictest policy that lets it work. */
export class Embedded {
  readonly page: Page;
  readonly element: Locator;
  readonly launcher: Locator;
  readonly panel: Locator;
  readonly composer: Locator;
  readonly sendButton: Locator;
  readonly stopButton: Locator;
  readonly messages: Locator;
  readonly #site: ForeignSite;
  readonly #server: Server;

  constructor(page: Page, site: ForeignSite, server: Server) {
    this.page = page;
    this.#site = site;
    this.#server = server;
    this.element = page.locator("loquent-chat");
    this.launcher = page.locator("[part=launcher]");
    this.panel = page.getByRole("dialog");
    this.composer = page.getByRole("textbox", { name: "Message", exact: true });
    this.sendButton = page.getByRole("button", { name: "Send", exact: true });
    this.stopButton = page.getByRole("button", { name: "Stop the reply" });
    this.messages = page.getByRole("log");
  }

  /** The address of a site with the element, whose user is "ann" unless the attributes name a token. */
  serve(embedding: Embedding = {}): string {
    const { attributes = "", head = "", policy = "", through = this.#server.url, path = "/" } = embedding;
    const token = attributes.includes("token") ? "" : `token="${this.#server.token("ann")}"`;
    const element = `<loquent-chat endpoint="${through}/graphql" ${token} ${attributes}></loquent-chat>`;
    const site = `<main><h1>A shop</h1><p>Tea, and what belongs to it. <a href="#more">More</a></p></main>${element}`;
    const script = embedding.script ?? `<script defer src="${this.#server.url}/widget.js"></script>`;
    if (embedding.own) {
      const scripts = `script-src 'unsafe-inline' ${this.#server.url}; connect-src 'self' ${through} ${through.replace("http", "ws")}`;
      return this.#site.serve(embedding.body ?? site, `default-src 'none'; ${scripts}; ${policy}`, { head, path });
    }
    const hosts = `${through} ${through.replace("http", "ws")}`;
    return this.#site.serve(
      embedding.body ?? site,
      `default-src 'none'; script-src ${this.#server.url}; connect-src ${hosts};
      require-trusted-types-for 'script'; trusted-types 'none'; ${policy}`.replace(/\s+/g, " "),
      { head: head + script, path },
    );
  }

  /** Goes to such a site and opens the panel. */
  async open(embedding: Embedding = {}): Promise<void> {
    await this.page.goto(this.serve(embedding));
    await this.launcher.click();
    await expect(this.composer).toBeVisible();
  }

  async send(text: string): Promise<void> {
    await this.composer.fill(text);
    await this.composer.press("Enter");
  }

  /** Waits until no reply is being written. */
  async settle(): Promise<void> {
    await expect(this.messages.getByRole("article").last()).toHaveAttribute("aria-busy", "false", { timeout: 30_000 });
  }

  /** What the element has told so far, of the events of this name; from the first call on. */
  async events(name: string): Promise<Record<string, unknown>[]> {
    return this.page.evaluate((name) => {
      const told = (window as unknown as { told?: { type: string; detail: object }[] }).told ?? [];
      return told.filter(({ type }) => type === name).map(({ detail }) => ({ ...detail }));
    }, name);
  }

  /** Notes all events of all elements that come to be, at the document: they bubble. */
  async listen(): Promise<void> {
    await this.page.addInitScript(() => {
      const told: { type: string; detail: unknown }[] = [];
      Object.assign(window, { told });
      for (const type of ["open", "close", "message", "error"]) {
        document.addEventListener(`loquent-${type}`, (event) => {
          told.push({ type: event.type, detail: (event as CustomEvent).detail });
        });
      }
    });
  }
}

/** How many subscriptions the server has open. */
export async function countSubscriptions(server: Server): Promise<number> {
  const figures = await (await fetch(`${server.url}/metrics`)).text();
  const [, value] = /^loquent_open_subscriptions (\S+)$/m.exec(figures) ?? [];
  return Number(value);
}

/** Counts what pages hold from now on: open WebSockets, and listeners at what outlives an element. */
export async function countHeld(page: Page): Promise<() => Promise<{ sockets: number; listeners: number }>> {
  await page.addInitScript(() => {
    const held = { sockets: 0, listeners: 0 };
    Object.assign(window, { held });
    window.WebSocket = class extends WebSocket {
      constructor(...options: ConstructorParameters<typeof WebSocket>) {
        super(...options);
        held.sockets += 1;
        this.addEventListener("close", () => (held.sockets -= 1));
      }
    };
    const count = (target: EventTarget | undefined, step: 1 | -1) => {
      const outlives = [undefined, window, document, window.visualViewport].some((one) => one === target);
      if (outlives || target instanceof MediaQueryList) held.listeners += step;
    };
    const { addEventListener, removeEventListener } = EventTarget.prototype;
    EventTarget.prototype.addEventListener = function (...given: Parameters<typeof addEventListener>) {
      count(this, 1);
      addEventListener.apply(this ?? window, given);
    };
    EventTarget.prototype.removeEventListener = function (...given: Parameters<typeof removeEventListener>) {
      count(this, -1);
      removeEventListener.apply(this ?? window, given);
    };
  });
  return () =>
    page.evaluate(() => ({ ...(window as unknown as { held: { sockets: number; listeners: number } }).held }));
}

/** With `widget`: the element on a site. */
export const test = base.extend<{ widget: Embedded }>({
  widget: async ({ page, foreignSite, server }, use) => {
    await use(new Embedded(page, foreignSite, server));
  },
});

export { expect };
