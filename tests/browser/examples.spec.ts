import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import type { Page, Request, Route } from "@playwright/test";

import { expectNoAxeViolations } from "./checks.ts";
import { expect, test as base } from "./fixtures.ts";
import { call, say } from "./model.ts";
import type { Network } from "./network.ts";
import type { Server } from "./server.ts";

const EXAMPLES = ["vanilla", "apollo-react", "urql-react"];
const VITE = fileURLToPath(new URL("../../examples/node_modules/.bin/vite", import.meta.url));

const MANIFEST = fileURLToPath(
  new URL("../../examples/generated/strings/persisted-documents.json", import.meta.url),
);

interface Site {
  url: string;
  page: Page;
}

type Build = (example: string, environment: Record<string, string>) => Promise<string>;

const test = base.extend<{ example: string; variant: Record<string, string>; site: Site }, { build: Build }>({
  example: ["vanilla", { option: true }],
  /** Settings of the build. */
  variant: [{}, { option: true }],

  /** Builds an example, once, and says where that is. */
  build: [
    async ({}, use) => {
      const directory = await mkdtemp(join(tmpdir(), "loquent-examples-"));
      const builds = new Map<string, Promise<string>>();
      await use((example, environment) => {
        const name = [example, ...Object.keys(environment)].join("-");
        const built = builds.get(name) ?? build(example, join(directory, name), environment);
        builds.set(name, built);
        return built;
      });
      await rm(directory, { recursive: true });
    },
    { scope: "worker" },
  ],

  /** The example in the browser; its way to the server, through Vite, is `network`. */
  site: async ({ example, variant, build, server, network, page, problems }, use) => {
    const preview = await startPreview(example, await build(example, variant), { LOQUENT_URL: network.url });
    problems.trust(preview.url);
    problems.allow(/WebSocket connection to .* failed|net::ERR_|Failed to load resource/);
    await page.route("**/token", (route) => route.fulfill({ body: server.token("developer") }));
    await watchReplies(page);
    await use({ url: preview.url, page });
    // No page is left that might ask while the server goes.
    await page.close();
    await preview.stop();
  },
});

for (const example of EXAMPLES) {
  test.describe(example, () => {
    test.use({ example });

    test("tokens are on the page as they are written, and the conversation gets its name", async ({
      site,
      server,
    }) => {
      await open(site);
      await say60Words(site);
      await expectWhole(site.page, server);
      expect((await shownTexts(site.page)).length).toBeGreaterThan(10);
      await expect(site.page.getByRole("navigation").getByRole("button")).toHaveCount(2);
      await expect(site.page.getByRole("navigation").getByText("Untitled")).toBeHidden();
      await expectNoAxeViolations(site.page);
    });

    test("a reply goes on after each cut, without a lost or doubled character", async ({
      site,
      server,
      network,
    }) => {
      await open(site);
      await expectWholeAfterCuts(site, server, network);
    });

    test("a reply goes on after the server was killed and has come back", async ({ site, server }) => {
      await open(site);
      await send(site.page, "Say 200 words, 60 a second.");
      await expectLonger(site.page, 100);
      await server.kill();
      await server.start();
      await settle(site.page);
      expect(await replyText(site.page)).toBe(await storedText(server));
    });

    test("a reload and a look at another conversation lose nothing", async ({ site, server }) => {
      await open(site);
      await send(site.page, "Say 200 words, 50 a second.");
      await expectLonger(site.page, 50);
      await site.page.reload();
      await expectLonger(site.page, 200);
      await site.page.getByRole("button", { name: "New conversation" }).click();
      await expect(site.page.locator(".message")).toHaveCount(0);
      await site.page.getByRole("navigation").getByRole("button").nth(1).click();
      await expectWhole(site.page, server);
    });

    test("a message is there at once, marked until the server has it", async ({ site }) => {
      await open(site);
      let release = () => {};
      const held = new Promise<void>((resolve) => (release = resolve));
      await site.page.route("**/graphql", async (route) => {
        if (isSend(route.request())) await held;
        await route.fallback();
      });
      await send(site.page, "Hello");
      await expect(site.page.locator(".unsent")).toHaveText("HelloSending…");
      release();
      await expect(site.page.locator(".unsent")).toBeHidden();
      await expect(site.page.locator(".message[data-role=USER]")).toHaveText("Hello");
    });

    for (const [what, lose] of [
      ["never came", (route: Route) => route.abort()],
      ["came, but its answer did not,", async (route: Route) => (await route.fetch(), await route.abort())],
    ] as const) {
      test(`a message that ${what} is sent again under the same key, and stored once`, async ({
        site,
        server,
      }) => {
        await open(site);
        const sent: string[] = [];
        await site.page.route("**/graphql", async (route) => {
          if (!isSend(route.request())) return route.fallback();
          sent.push(route.request().postDataJSON().variables.input.idempotencyKey);
          await (sent.length === 1 ? lose(route) : route.fallback());
        });
        await send(site.page, "Say 5 words, 100 a second.");
        await expect(site.page.locator(".unsent")).toContainText("Not sent");
        await site.page.getByRole("button", { name: "Retry" }).click();
        await settle(site.page);
        await expectWhole(site.page, server);
        expect(new Set(sent).size).toBe(1);
        expect(sent).toHaveLength(2);
        expect(await storedTexts(server)).toHaveLength(2);
        await expect(site.page.locator(".message")).toHaveCount(2);
      });
    }

    test("a token that has expired is renewed", async ({ site, server }) => {
      const given: number[] = [];
      await site.page.route("**/token", async (route) => {
        given.push(given.length === 0 ? -60 : 3600);
        await route.fulfill({ body: server.token("developer", given.at(-1)) });
      });
      await open(site);
      await say60Words(site);
      await expectWhole(site.page, server);
      expect(given.length).toBeLessThan(5);
    });

    test("a token that ends in the middle of a reply is renewed, and nothing is lost", async ({
      site,
      server,
    }) => {
      let given = 0;
      await site.page.route("**/token", async (route) => {
        given += 1;
        await route.fulfill({ body: server.token("developer", 3) });
      });
      await open(site);
      await send(site.page, "Say 300 words, 50 a second.");
      await expectWhole(site.page, server);
      expect(given).toBeGreaterThan(1);
    });

    test("stop keeps what was written", async ({ site, server }) => {
      await open(site);
      await send(site.page, "Say 1000 words, 50 a second.");
      await expectLonger(site.page, 50);
      await site.page.getByRole("button", { name: "Stop" }).click();
      await settle(site.page);
      await expect(site.page.locator(".message[data-status=STOPPED]")).toContainText("Stopped");
      await expectWhole(site.page, server);
    });

    test("a tool that asks first goes on when it is approved", async ({ site, server }) => {
      const { addTask } = await server.execute(
        'mutation { addTask(input: { title: "Milk" }) { task { id } } }',
      );
      await server.script(call("deleteTask", { id: addTask.task.id }), say("It is gone."));
      await open(site);
      await send(site.page, "Delete it");
      await site.page.getByRole("button", { name: "Approve" }).click();
      await settle(site.page);
      await expect(site.page.locator(".tool")).toHaveText("deleteTask: succeeded");
      expect(await replyText(site.page)).toBe("It is gone.");
    });

    test("a stream that is refused says why, and the text so far stays", async ({ site }) => {
      await site.page.routeWebSocket("**/graphql", (socket) => {
        const server = socket.connectToServer();
        socket.onMessage((message) => {
          const { id, payload } = JSON.parse(String(message));
          if (!payload?.query?.includes("subscription Reply")) return server.send(message);
          const errors = [{ message: "Too many streams.", extensions: { code: "RATE_LIMITED" } }];
          return socket.send(JSON.stringify({ id, type: "error", payload: errors }));
        });
      });
      await open(site);
      await send(site.page, "Say 1000 words, 100 a second.");
      await expect(site.page.locator("[data-role=ASSISTANT] .problem")).toContainText("Too many streams.");
      await expect(site.page.getByRole("button", { name: "Stop" })).toBeVisible();
    });

    test("what another tab sends comes here too", async ({ site, server }) => {
      await open(site);
      await send(site.page, "Say 3 words, 100 a second.");
      await settle(site.page);
      const conversationId = new URL(site.page.url()).hash.slice(1);
      const input = { conversationId, text: "Say 40 words, 50 a second." };
      await server.execute(
        "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { reply { id } } }",
        { input },
      );
      await expect(site.page.locator(".message")).toHaveCount(4);
      await expectWhole(site.page, server);
    });
  });
}

test.describe("by server-sent events", () => {
  test.use({ variant: { VITE_TRANSPORT: "sse" } });

  test("a reply goes on after each cut too", async ({ site, server, network }) => {
    site.page.on("websocket", ({ url }) => expect(url()).toBe("no WebSocket at all"));
    await open(site);
    await expectWholeAfterCuts(site, server, network);
  });
});

test.describe("by trusted documents", () => {
  test.use({ variant: { VITE_TRUSTED_DOCUMENTS: "true" } });

  test("the manifest that is generated lets the page run", async ({ site, server }) => {
    await server.restart({ environment: { LOQUENT_TRUSTED_DOCUMENTS: MANIFEST } });
    await open(site);
    await send(site.page, "Say 3 words, 100 a second.");
    await settle(site.page);
    expect(await replyText(site.page)).toBe("word0 word1 word2 ");
  });
});

test("the development server of the examples gives the page a token", async ({
  build,
  server,
  page,
  problems,
}) => {
  const secret = "a secret that server and site share, long enough for HS256";
  await server.restart({ environment: { LOQUENT_JWT_SECRET: secret } });
  const preview = await startPreview("vanilla", await build("vanilla", {}), {
    LOQUENT_URL: server.url,
    LOQUENT_JWT_SECRET: secret,
  });
  problems.trust(preview.url);
  await page.goto(preview.url);
  await send(page, "Say 3 words, 100 a second.");
  await expect(page.locator("[data-role=ASSISTANT] .text")).toHaveText("word0 word1 word2");
  await page.close();
  await preview.stop();
});

async function build(example: string, outDir: string, environment: Record<string, string>): Promise<string> {
  const vite = spawn(VITE, ["build", "--outDir", outDir, "--logLevel", "error"], {
    cwd: directoryOf(example),
    env: { ...process.env, ...environment },
    stdio: "inherit",
  });
  const [status] = await once(vite, "exit");
  if (status !== 0) throw new Error(`${example} cannot be built`);
  return outDir;
}

async function startPreview(example: string, outDir: string, environment: Record<string, string>) {
  const vite = spawn(VITE, ["preview", "--outDir", outDir, "--host", "127.0.0.1", "--port", "0"], {
    cwd: directoryOf(example),
    env: { ...process.env, NO_COLOR: "1", ...environment },
    stdio: ["ignore", "pipe", "ignore"],
  });
  const ended = once(vite, "exit");
  for await (const line of createInterface(vite.stdout)) {
    const url = /http:\/\/\S+/.exec(line)?.[0];
    if (url) return { url, stop: async () => void (vite.kill(), await ended) };
  }
  throw new Error(`${example} is not served`);
}

function directoryOf(example: string): string {
  return fileURLToPath(new URL(`../../examples/${example}`, import.meta.url));
}

/** Remembers every text that the newest reply ever shows. */
async function watchReplies(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const shown = new Set<string>();
    Object.assign(window, { shown });
    new MutationObserver(() => {
      const reply = [...document.querySelectorAll(".message[data-role=ASSISTANT]")].at(-1);
      shown.add([...(reply?.querySelectorAll(".text") ?? [])].map((part) => part.textContent).join(""));
    }).observe(document, { subtree: true, childList: true, characterData: true });
  });
}

async function shownTexts(page: Page): Promise<string[]> {
  return page.evaluate(() => [...(window as never as { shown: Set<string> }).shown]);
}

async function open({ url, page }: Site): Promise<void> {
  await page.goto(url);
  await expect(page.getByRole("button", { name: "New conversation" })).toBeVisible();
}

async function send(page: Page, text: string): Promise<void> {
  await page.getByLabel("Message").fill(text);
  await page.getByLabel("Message").press("Enter");
}

async function say60Words({ page }: Site): Promise<void> {
  await send(page, "Say 60 words, 60 a second.");
}

/** Waits until the newest reply has begun and ended. */
async function settle(page: Page): Promise<void> {
  const reply = page.locator(".message").last();
  await expect(reply).toHaveAttribute("data-role", "ASSISTANT");
  await expect(reply).toHaveAttribute("data-status", /COMPLETE|STOPPED/, { timeout: 30_000 });
}

async function replyText(page: Page): Promise<string> {
  return (await page.locator(".message[data-role=ASSISTANT]").last().locator(".text").allTextContents()).join(
    "",
  );
}

/** The newest reply grows beyond a length; looks often, to be there while it is being written. */
async function expectLonger(page: Page, length: number): Promise<void> {
  await expect.poll(async () => (await replyText(page)).length, { intervals: [20] }).toBeGreaterThan(length);
}

/** The reply ends as the server has it, and never has anything else been shown than a beginning of that. */
async function expectWhole(page: Page, server: Server): Promise<void> {
  await settle(page);
  const stored = await storedText(server);
  expect(await replyText(page)).toBe(stored);
  expect((await shownTexts(page)).filter((text) => !stored.startsWith(text))).toEqual([]);
}

/** A long reply, through a network that fails four times. */
async function expectWholeAfterCuts({ page }: Site, server: Server, network: Network): Promise<void> {
  const beginnings = watchBeginnings(page);
  // So long that it never ends before it is stopped, however busy this machine is.
  await send(page, "Say 3000 words, 60 a second.");
  for (const length of [100, 500, 900]) {
    await expectLonger(page, length);
    await expect.poll(() => network.cut(), { intervals: [20] }).toBeGreaterThan(0);
  }
  await expectLonger(page, 1300);
  network.goOffline();
  await page.waitForTimeout(1500);
  network.goOnline();
  await expectLonger(page, 1700);
  await page.getByRole("button", { name: "Stop" }).click();
  await expectWhole(page, server);
  expect(beginnings.size, "each time it goes on after another cursor").toBeGreaterThanOrEqual(5);
}

/** The cursors after which the page has asked for a reply, by WebSocket and by HTTP. */
function watchBeginnings(page: Page): Set<string> {
  const beginnings = new Set<string>();
  const watch = (text: string) => {
    const message = JSON.parse(text);
    const { query, variables } = message.payload ?? message;
    if (query?.includes("subscription Reply")) beginnings.add(variables.after);
  };
  page.on("websocket", (socket) => socket.on("framesent", ({ payload }) => watch(String(payload))));
  page.on("request", (request) => watch(request.postData() ?? "{}"));
  return beginnings;
}

async function storedText(server: Server): Promise<string> {
  return (await storedTexts(server)).at(-1)!;
}

/** The texts of all messages of the one conversation there is. */
async function storedTexts(server: Server): Promise<string[]> {
  const { conversations } = await server.execute(
    "{ conversations { edges { node { messages { edges { node { text } } } } } } }",
  );
  expect(conversations.edges).toHaveLength(1);
  return conversations.edges[0].node.messages.edges.map(({ node }: { node: { text: string } }) => node.text);
}

function isSend(request: Request): boolean {
  return request.postData()?.includes("mutation Send(") ?? false;
}
