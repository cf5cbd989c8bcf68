import { measureCpu, measureMachine } from "./cpu.ts";
import { expect, test } from "./fixtures.ts";
import { say } from "./model.ts";
import { storeConversation } from "./stored.ts";

test("two tabs show the same list: a new one, its title, another title, the archive, and what is deleted", async ({
  chat,
  page,
}) => {
  const tab = await chat.openTab(page.context());
  await expect(tab.list).toContainText("No conversations yet.");
  await chat.ask("Trains and ships");
  // The model names it after the first exchange, and nobody has to reload for that.
  await expect(tab.entry("Trains and ships")).toBeVisible();
  await expect(chat.entry("Trains and ships")).toHaveAttribute("aria-current", "page");
  await expect(page).toHaveTitle("Trains and ships · Loquent");

  await tab.choose("Trains and ships", "Rename");
  await tab.page.keyboard.type("Counting");
  await tab.page.keyboard.press("Enter");
  await expect(chat.entry("Counting")).toBeVisible();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Counting");

  await page.getByRole("heading", { level: 1 }).getByRole("button").click();
  await page.keyboard.type("Three words");
  await page.keyboard.press("Escape");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Counting");
  await page.getByRole("heading", { level: 1 }).getByRole("button").click();
  await page.keyboard.type("Three words");
  await page.keyboard.press("Enter");
  await expect(tab.entry("Three words")).toBeVisible();

  await chat.choose("Three words", "Archive");
  await expect(tab.entry("Three words")).toHaveCount(0);
  await expect(chat.header).toContainText("Archived");
  await tab.page.getByRole("button", { name: "Archived" }).click();
  await expect(tab.entry("Three words")).toBeVisible();
  await tab.choose("Three words", "Unarchive");
  await expect(tab.entry("Three words")).toHaveCount(0);
  await expect(chat.entry("Three words")).toBeVisible();
  await expect(chat.header).not.toContainText("Archived");
  await tab.page.getByRole("button", { name: "All conversations" }).click();

  await tab.choose("Three words", "Delete");
  const dialog = tab.page.getByRole("dialog", { name: "Delete this conversation?" });
  await expect(dialog.getByRole("button", { name: "Keep it" })).toBeFocused();
  await dialog.getByRole("button", { name: "Keep it" }).click();
  await expect(tab.entry("Three words")).toBeVisible();
  await tab.choose("Three words", "Delete");
  await dialog.getByRole("button", { name: "Delete" }).click();
  await expect(tab.entry("Three words")).toHaveCount(0);
  await expect(chat.entry("Three words")).toHaveCount(0);
  // Who has it open is told so, and can begin another one.
  await chat.transcript.getByRole("button", { name: "New conversation" }).click();
  await chat.ask("Hello");
});

test("words are found in titles and in messages", async ({ chat, server }) => {
  await storeConversation(server, "About trains", "When does the locomotive leave?");
  await storeConversation(server, "About ships", "When does the ferry leave?");
  await chat.page.reload();
  await expect(chat.list.getByRole("link")).toHaveText(["About ships", "About trains"]);
  const search = chat.page.getByRole("searchbox", { name: "Search conversations" });
  await search.fill("ships");
  await expect(chat.list.getByRole("link")).toHaveText(["About ships"]);
  await search.fill("locomotive");
  await expect(chat.list.getByRole("link")).toHaveText(["About trains"]);
  await search.fill("zeppelin");
  await expect(chat.list).toContainText("Nothing found.");
  await search.fill("");
  await expect(chat.list.getByRole("link")).toHaveCount(2);
});

test("each conversation has an address, and back and forward go from one to the next", async ({
  chat,
  server,
  page,
}) => {
  await server.script(say("All about trains."), say("All about ships."));
  const trains = await storeConversation(server, "Trains", "Trains?");
  const ships = await storeConversation(server, "Ships", "Ships?");
  await chat.open(`${server.url}/#/${trains}`);
  await page.reload();
  await expect(chat.textOf()).toHaveText("All about trains.");
  await chat.entry("Ships").click();
  await expect(chat.textOf()).toHaveText("All about ships.");
  await expect(page).toHaveURL(new RegExp(`#/${ships}$`));
  await page.goBack();
  await expect(chat.textOf()).toHaveText("All about trains.");
  await page.goForward();
  await expect(chat.textOf()).toHaveText("All about ships.");
  await chat.newButton.click();
  await expect(chat.replies).toHaveCount(0);
  await page.goBack();
  await expect(chat.textOf()).toHaveText("All about ships.");
});

test("the address of nothing, and of somebody else's conversation, says so", async ({ chat, server, page }) => {
  const theirs = await storeConversation(server, "Secret", "Nobody may know", "bob");
  for (const id of [theirs, "nothing", "%E0%A4%A"]) {
    await chat.open(`${server.url}/#/${id}`);
    await page.reload();
    if (id === "%E0%A4%A") await expect(page.getByRole("heading", { name: "What shall we talk about?" })).toBeVisible();
    else await expect(chat.transcript).toContainText("This conversation does not exist, or is not yours.");
    await expect(page.getByText("Nobody may know")).toHaveCount(0);
  }
});

test("more conversations than one page holds come while one scrolls", async ({ chat, server }) => {
  await server.seed({ conversations: 75, messages: 150 });
  await chat.signIn(server, "user0");
  await expect(chat.list.getByRole("link")).toHaveCount(30);
  for (const count of [60, 75]) {
    await chat.list.getByRole("link").last().scrollIntoViewIfNeeded();
    await expect(chat.list.getByRole("link")).toHaveCount(count);
  }
  await expect(chat.list.getByRole("button", { name: "More", exact: true })).toHaveCount(0);
});

test("a conversation of two thousand messages stays quick", async ({ chat, server, page, browser }) => {
  await server.seed({ conversations: 1, messages: 2_000 });
  await chat.signIn(server, "user0");
  await chat.list.getByRole("link").click();
  // By selectors: to find a role among so many elements takes half a minute.
  const turns = page.locator("[role=log] article");
  await expect.poll(() => turns.count()).toBeGreaterThan(0);
  const scrollToTop = () => chat.transcript.evaluate((log) => (log.scrollTop = -log.scrollHeight));
  for (let count = await turns.count(); count < 2_000; count = await turns.count()) {
    await scrollToTop();
    await expect.poll(() => turns.count(), { intervals: [20] }).toBeGreaterThan(count);
  }
  await expect(turns).toHaveCount(2_000);
  const factor = await measureMachine(page);
  await chat.transcript.focus();
  await page.keyboard.press("End");
  await expect(page.locator("[part~=jump]")).toHaveCount(0);
  await server.script(say("A short answer."));
  const { rendering } = await measureCpu(browser, page, async () => {
    await page.locator("[part~=composer] textarea").fill("One more");
    await page.keyboard.press("Enter");
    await expect(turns).toHaveCount(2_002);
    await expect(turns.last()).toContainText("A short answer.");
    await expect(page.locator("[part~=send]")).toHaveAttribute("aria-label", "Send");
  });
  await expect(turns.last()).toBeInViewport();
  const { total, longest } = rendering;
  console.log(`2,000 messages: an exchange took ${total.toFixed(0)} ms, ${longest.toFixed(0)} ms at a time`);
  // Without `content-visibility` it takes more than a second.
  expect(total).toBeLessThan(800 * factor);
});
