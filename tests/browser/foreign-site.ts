import { once } from "node:events";
import { createServer, type Server as HTTPServer } from "node:http";
import type { AddressInfo } from "node:net";

interface Page {
  html: string;
  policy: string;
}

/** A site of somebody else, on an origin and a host name of its own; the server takes requests from its pages. */
export class ForeignSite {
  readonly origin: string;
  readonly #listener: HTTPServer;
  readonly #pages = new Map<string, Page>();

  private constructor(listener: HTTPServer) {
    this.#listener = listener;
    // Another host name than the server's: other cookies, another site.
    this.origin = `http://localhost:${(listener.address() as AddressInfo).port}`;
  }

  static async start(): Promise<ForeignSite> {
    const listener = createServer((request, response) => {
      const page = site.#pages.get(request.url ?? "/");
      if (!page) return response.writeHead(request.url === "/favicon.ico" ? 204 : 404).end();
      const headers = { "Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": page.policy };
      return response.writeHead(200, headers).end(page.html);
    });
    listener.listen(0, "localhost");
    await once(listener, "listening");
    const site: ForeignSite = new ForeignSite(listener);
    return site;
  }

  /** Serves the HTML of a body under a content security policy; gives the page's address. */
  serve(body: string, policy = "default-src 'none'", { head = "", path = "/" } = {}): string {
    const html = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A site</title>
      <meta name="viewport" content="width=device-width, initial-scale=1">${head}</head><body>${body}</body></html>`;
    this.#pages.set(path, { html, policy });
    return new URL(path, this.origin).href;
  }

  /** Forgets all pages. */
  clear(): void {
    this.#pages.clear();
  }

  close(): void {
    this.#listener.close();
    this.#listener.closeAllConnections();
  }
}
