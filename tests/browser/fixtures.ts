import { test as base, expect } from "@playwright/test";
import { Chat } from "./chat.ts";
import { screenshotPath, type Screenshot } from "./checks.ts";
import { ForeignSite } from "./foreign-site.ts";
import { Network } from "./network.ts";
import { Problems } from "./problems.ts";
import { Server } from "./server.ts";

interface TestFixtures {
  /** A server without rows; what a test does to it (kill, restart) is undone. */
  server: Server;
  /** The chat page, open, signed in as "developer". */
  chat: Chat;
  /** What pages must not do; an empty list, or the test fails. */
  problems: Problems;
  /** A way to the server that can be cut: `chat.open(network.url)`, then `network.goOffline()`. */
  network: Network;
  /** Somebody else's site. */
  foreignSite: ForeignSite;
  /** Writes screenshots/<name>.png, of the page of the test or of another one. */
  takeScreenshot: Screenshot;
}

interface WorkerFixtures {
  workerServer: Server;
  workerSite: ForeignSite;
}

/** `test("…", async ({ chat, server }) => …)`: see README.md. */
export const test = base.extend<TestFixtures, WorkerFixtures>({
  workerSite: [
    async ({}, use) => {
      const site = await ForeignSite.start();
      await use(site);
      site.close();
    },
    { scope: "worker" },
  ],

  workerServer: [
    async ({ workerSite }, use) => {
      const server = await Server.launch({ LOQUENT_CORS_ORIGINS: workerSite.origin });
      await use(server);
      await server.close();
    },
    { scope: "worker", timeout: 90_000 },
  ],

  server: async ({ workerServer }, use, testInfo) => {
    await workerServer.reset();
    await use(workerServer);
    if (testInfo.status !== testInfo.expectedStatus) {
      await testInfo.attach("server.log", { body: await workerServer.log(), contentType: "text/plain" });
    }
  },

  problems: async ({ server, foreignSite }, use) => {
    const problems = new Problems();
    problems.trust(server.url);
    problems.trust(foreignSite.origin);
    await use(problems);
    expect(problems.list, "what the pages must not do").toEqual([]);
  },

  // The network outlives the pages: that it goes is none of their problems.
  context: async ({ context, problems, network: _network }, use) => {
    await problems.watch(context);
    await use(context);
  },

  baseURL: async ({ server }, use) => use(server.url),

  chat: async ({ page, server }, use) => {
    const chat = new Chat(page);
    await chat.open(server.url);
    await use(chat);
  },

  network: async ({ server, problems }, use) => {
    const network = await Network.start(server.url);
    problems.trust(network.url);
    await use(network);
    network.close();
  },

  foreignSite: async ({ workerSite }, use) => {
    workerSite.clear();
    await use(workerSite);
  },

  takeScreenshot: async ({ page }, use) => {
    await use(async (name, of = page) => {
      await of.screenshot({ path: screenshotPath(name), animations: "disabled" });
    });
  },
});

export { expect };
