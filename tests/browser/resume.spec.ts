import { expect, test } from "./fixtures.ts";
import { say, think } from "./model.ts";
import { storedMessages, storedText } from "./stored.ts";
import type { Chat } from "./chat.ts";
import type { Server } from "./server.ts";

const TEXT = Array.from(
  { length: 25 },
  (_, index) => `Paragraph ${index} has **strong** words, as *many* as \`others\`.`,
).join("\n\n");

/** Every character of the server's text is on the page, once: by its Markdown source, and as it is read. */
async function expectWhole(chat: Chat, server: Server, text = TEXT): Promise<void> {
  await expect.poll(() => storedText(server), { timeout: 40_000 }).toBe(text);
  await expect(chat.lastReply).toHaveAttribute("aria-busy", "false");
  await chat.page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await chat.page.bringToFront();
  await chat.lastReply.hover();
  await chat.lastReply.getByRole("button", { name: "Copy the reply" }).click();
  await expect.poll(() => chat.page.evaluate(() => navigator.clipboard.readText())).toBe(text);
  const paragraphs = text.replace(/[*`]/g, "").split("\n\n");
  await expect(chat.textOf().getByRole("paragraph")).toHaveText(paragraphs);
}

test.beforeEach(({ problems }) => problems.allow(/ERR_|Failed to load resource|WebSocket/));

test("a reload in the middle of a reply loses nothing", async ({ chat, server, page }) => {
  await server.script(say(TEXT, { pace: 50, pieces: 8 }));
  await chat.send("Go on");
  await chat.waitForText(100);
  await page.reload();
  await expect(chat.stopButton).toBeVisible();
  await chat.waitForText(300);
  await page.reload();
  await expectWhole(chat, server);
});

test("a second tab shows the same reply at the same time, and may stop it", async ({ chat, server, page }) => {
  await server.script(say(TEXT, { pace: 50, pieces: 8 }), say(TEXT, { pace: 30, pieces: 8 }));
  await chat.send("Go on");
  await chat.waitForText(100);
  const tab = await chat.openTab(page.context());
  await tab.waitForText(200);
  await expect(chat.stopButton).toBeVisible();
  await expectWhole(chat, server);
  await expectWhole(tab, server);
  await tab.send("Once more");
  await expect(chat.replies).toHaveCount(2);
  await expect(chat.stopButton).toBeVisible();
  await tab.waitForText(100);
  await tab.stopButton.click();
  await expect(chat.lastReply).toContainText("Stopped");
  await chat.settle();
  const { text } = (await storedMessages(server)).at(-1)!;
  await expect(tab.lastReply).toContainText("Stopped");
  const shown = await tab.textOf().innerText();
  // A tab in the background draws nothing, and catches up when it is looked at.
  await page.bringToFront();
  await expect.poll(() => chat.textOf().innerText()).toBe(shown);
  expect(TEXT.startsWith(text)).toBe(true);
});

test("ten seconds without a network in mid-stream lose nothing, with a quiet notice", async ({
  chat,
  network,
  server,
}) => {
  await chat.open(network.url);
  await server.script(say(TEXT, { pace: 25, pieces: 8 }));
  await chat.send("Go on");
  await chat.waitForText(100);
  await expect(chat.connection).toBeHidden();
  network.goOffline();
  await expect(chat.connection).toHaveText("Reconnecting…");
  await chat.composer.fill("One can write meanwhile");
  // Seconds are what this is about.
  await chat.page.waitForTimeout(10_000);
  network.goOnline();
  await expect(chat.connection).toBeHidden({ timeout: 30_000 });
  await expect(chat.composer).toHaveValue("One can write meanwhile");
  await expectWhole(chat, server);
});

test("cuts in quick succession neither lose nor double a character", async ({ chat, network, server }) => {
  await chat.open(network.url);
  await server.script(say(TEXT, { pace: 60, pieces: 5 }));
  await chat.send("Go on");
  for (const length of [50, 200, 400, 600]) {
    await chat.waitForText(length);
    network.cut();
  }
  await expectWhole(chat, server);
});

test("a browser that says it is offline goes on when it is online", async ({ chat, context, server }) => {
  await server.script(say(TEXT, { pace: 40, pieces: 8 }));
  await chat.send("Go on");
  await chat.waitForText(100);
  await context.setOffline(true);
  await expect(chat.connection).toHaveText("Offline");
  await chat.send("Sent while offline");
  await context.setOffline(false);
  await expect(chat.connection).toBeHidden({ timeout: 30_000 });
  await expectWhole(chat, server);
});

test("a server that is killed in the middle of a reply goes on when it is back", async ({ chat, server }) => {
  await server.script(say(TEXT, { pace: 40, pieces: 8 }), say(TEXT, { pace: 200, pieces: 8 }));
  await chat.send("Go on");
  await chat.waitForText(150);
  await server.kill();
  await expect(chat.connection).toHaveText("Reconnecting…");
  await expect(chat.page.getByRole("dialog")).toBeHidden();
  await expect(chat.page.getByRole("alert")).toHaveCount(0);
  await server.start();
  await expect(chat.connection).toBeHidden({ timeout: 30_000 });
  await chat.settle();
  const [question, reply] = await storedMessages(server);
  expect(question?.text).toBe("Go on");
  expect(reply?.status).toBe("COMPLETE");
  await expectWhole(chat, server, reply?.text);
  await expect(chat.questions).toHaveCount(1);
});

test("a server that is away while one sends gets the message when it is back", async ({ chat, server }) => {
  await chat.ask("Hello");
  await server.kill();
  await chat.send("Are you there?");
  await expect(chat.questions.last()).toContainText("Not sent");
  await server.start();
  await chat.questions.last().getByRole("button", { name: "Retry" }).click();
  await expect(chat.replies).toHaveCount(2);
  await chat.settle();
  expect(await storedMessages(server)).toHaveLength(4);
});

test("what was thought is folded away, and there after a reload", async ({ chat, server, page }) => {
  await server.script(think("One, two, three.", "It is four."));
  await chat.ask("How much?");
  const thoughts = chat.lastReply.getByText("One, two, three.");
  await expect(thoughts).toBeHidden();
  await page.reload();
  await chat.lastReply.getByText("Reasoning").click();
  await expect(thoughts).toBeVisible();
  await expect(chat.textOf()).toHaveText("It is four.");
});
