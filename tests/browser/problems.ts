import type { BrowserContext } from "@playwright/test";

/** What a page must not do: complain, throw, break its policy, ask a host that is not ours. */
export class Problems {
  /** All that was found, a line each. */
  readonly found: string[] = [];
  readonly #allowed: RegExp[] = [];
  readonly #origins = new Set<string>();

  /** Lets pages ask this origin. */
  trust(url: string): void {
    this.#origins.add(new URL(url).origin.replace("ws:", "http:"));
  }

  /** A test that provokes an error says so: `problems.allow(/ERR_CONNECTION_REFUSED/)`. */
  allow(pattern: RegExp): void {
    this.#allowed.push(pattern);
  }

  /** What was found and is not allowed. */
  get list(): string[] {
    return this.found.filter((problem) => !this.#allowed.some((pattern) => pattern.test(problem)));
  }

  /** Watches all pages and workers of a browser context. */
  async watch(context: BrowserContext): Promise<void> {
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        const { effectiveDirective, blockedURI, sourceFile, lineNumber, sample } = event;
        console.error(`policy: ${effectiveDirective} forbids ${blockedURI} (${sourceFile}:${lineNumber}) ${sample}`);
      });
    });
    context.on("console", (message) => {
      if (message.type() !== "error") return;
      const { url, lineNumber } = message.location();
      this.found.push(`console: ${message.text()} (${url}:${lineNumber})`);
    });
    context.on("weberror", (error) => this.found.push(`thrown: ${error.error().stack ?? error.error()}`));
    context.on("request", (request) => this.#check(request.url()));
    context.on("page", (page) => page.on("websocket", (socket) => this.#check(socket.url())));
  }

  #check(url: string): void {
    const { protocol, origin } = new URL(url);
    if (protocol === "data:" || protocol === "blob:" || protocol === "about:") return;
    if (!this.#origins.has(origin.replace("ws:", "http:"))) this.found.push(`foreign host: ${url}`);
  }
}
