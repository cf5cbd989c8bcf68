import type { Page } from "@playwright/test";
import { expectNoAxeViolations } from "./checks.ts";
import { expect, test } from "./fixtures.ts";
import { call, say } from "./model.ts";
import { storeTask } from "./stored.ts";

const readClipboard = (page: Page) => page.evaluate(() => navigator.clipboard.readText());

test.beforeEach(({ context }) => context.grantPermissions(["clipboard-read", "clipboard-write"]));

test("who is asked sees what for, and approves by keyboard", async ({ chat, server, page }) => {
  const id = await storeTask(server, "Milk");
  await page.reload();
  await server.script(call("deleteTask", { id }, "I will delete it."), say("It is gone."));
  await chat.send("Delete the milk");
  const card = chat.cardOf("deleteTask");
  await expect(card).toContainText("Needs your approval");
  // Nobody has opened anything: the parameters are there before the question is answered.
  await expect(card.getByRole("group", { name: "Parameters" })).toBeVisible();
  await expect(card.getByRole("group", { name: "Parameters" })).toContainText(id);
  // An id tells people nothing, so that the title stands beside it.
  await expect(card).toContainText("Milk");
  await expect(chat.tasks).toHaveText([/Milk/]);
  await expect(chat.stopButton).toBeVisible();
  await chat.approvalOf("deleteTask").getByRole("textbox").focus();
  await page.keyboard.press("Tab");
  await expect(page.getByRole("button", { name: "Deny" })).toBeFocused();
  await page.keyboard.press("Tab");
  await expect(page.getByRole("button", { name: "Approve" })).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(card).toContainText("Done");
  await expect(chat.textOf().last()).toHaveText("It is gone.");
  await expect(chat.approvalOf("deleteTask")).toHaveCount(0);
  await expect(chat.tasks).toHaveCount(0);
  // The focus did not fall out of the page with the question.
  expect(await page.evaluate(() => document.activeElement?.localName)).not.toBe("body");
});

test("who denies may say why, and the agent is told", async ({ chat, server }) => {
  const id = await storeTask(server, "Milk");
  await server.script(call("deleteTask", { id }), say("I leave it."));
  await chat.send("Delete the milk");
  const question = chat.approvalOf("deleteTask");
  await question.getByRole("textbox").fill("I still need it");
  await question.getByRole("button", { name: "Deny" }).click();
  await expect(chat.cardOf("deleteTask")).toContainText("Denied");
  await expect(chat.textOf()).toHaveText("I leave it.");
  await expect(chat.tasks).toHaveText([/Milk/]);
  expect(JSON.stringify(await server.requests())).toContain("I still need it");
});

test("a question that waits is there after a reload, and in another tab it goes when it is answered", async ({
  chat,
  server,
  page,
}) => {
  const id = await storeTask(server, "Milk");
  await server.script(call("deleteTask", { id }), say("It is gone."));
  await chat.send("Delete the milk");
  await expect(chat.approvalOf("deleteTask")).toBeVisible();
  await page.reload();
  await expect(chat.cardOf("deleteTask").getByRole("group", { name: "Parameters" })).toBeVisible();
  const tab = await chat.openTab(page.context());
  await tab.approvalOf("deleteTask").getByRole("button", { name: "Approve" }).click();
  await expect(chat.approvalOf("deleteTask")).toHaveCount(0);
  await expect(chat.cardOf("deleteTask")).toContainText("Done");
  await expect(chat.tasks).toHaveCount(0);
  await expect(chat.textOf()).toHaveText("It is gone.");
});

test("a message sent while a question waits is not possible, stopping is, and interrupts the call", async ({
  chat,
  server,
  page,
}) => {
  const id = await storeTask(server, "Milk");
  await server.script(call("deleteTask", { id }));
  // The list was read before there was a task.
  await chat.open(server.url);
  await chat.send("Delete the milk");
  await expect(chat.approvalOf("deleteTask")).toBeVisible();
  await chat.composer.focus();
  await page.keyboard.press("Escape");
  await expect(chat.approvalOf("deleteTask")).toHaveCount(0);
  await expect(chat.lastReply).toContainText("Stopped");
  await expect(chat.tasks).toHaveText([/Milk/]);
  await chat.ask("Hello");
});

test("the header of a call is as high in every state, and nothing moves when it changes", async ({
  chat,
  server,
  page,
}) => {
  const ids = [await storeTask(server, "Milk"), await storeTask(server, "Bread"), await storeTask(server, "Tea")];
  await page.evaluate(() => {
    const heights: Record<string, number> = {};
    const look = () => {
      for (const card of document.querySelectorAll("[part~=tool-call]")) {
        const state = card.querySelector(".outcome")?.textContent ?? "";
        heights[state] = card.querySelector("summary")?.getBoundingClientRect().height ?? 0;
      }
      document.body.dataset["heights"] = JSON.stringify(heights);
    };
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
  });
  await server.script(
    call("addTask", { title: "A task with a title that is far too long for one line of a card, whatever its width" }),
    call("deleteTask", { id: "no such task" }),
    say("Well."),
  );
  await chat.send("Add it, and delete another");
  await chat.approvalOf("deleteTask").getByRole("button", { name: "Approve" }).click();
  await chat.settle();
  await server.script(call("deleteTask", { id: ids[0] }), say("Fine."));
  await chat.send("Delete the milk");
  await chat.approvalOf("deleteTask").getByRole("button", { name: "Deny" }).click();
  await chat.settle();
  await server.script(call("deleteTask", { id: ids[1] }));
  await chat.send("Delete the bread");
  await expect(chat.approvalOf("deleteTask")).toBeVisible();
  await chat.stopButton.click();
  await chat.settle();
  await page.reload();
  await expect(chat.lastReply).toContainText("Interrupted");
  const last = await chat.lastReply.locator("[part~=tool-call] summary").boundingBox();
  const heights = JSON.parse((await page.locator("body").getAttribute("data-heights")) ?? "{}") as Record<
    string,
    number
  >;
  const all: Record<string, number> = { ...heights, Interrupted: last?.height ?? 0 };
  expect(new Set(Object.values(all))).toEqual(new Set([44]));
});

test("the to-do list follows the agent while it works, and the user", async ({ chat, server, page }) => {
  await server.script(
    call("addTask", { title: "Milk" }, "First the milk."),
    say("Now some more words. ".repeat(20), { pace: 30, pieces: 10 }),
  );
  await chat.send("Add milk");
  await expect(chat.tasks).toHaveText([/Milk/]);
  // The reply still goes on.
  await expect(chat.stopButton).toBeVisible();
  await chat.settle();
  await expect(chat.tasksButton).toHaveAccessibleName("To-do list, 1 open");
  await page.getByRole("checkbox", { name: "Milk" }).check();
  await expect(chat.tasksButton).toHaveAccessibleName("To-do list");
  await page.getByRole("textbox", { name: "New task" }).fill("Bread");
  await page.keyboard.press("Enter");
  await expect(chat.tasks).toHaveText([/Milk/, /Bread/]);
  const tab = await chat.openTab(page.context());
  await expect(tab.tasks).toHaveText([/Milk/, /Bread/]);
  await page.getByRole("button", { name: "Remove “Milk”" }).click();
  await expect(tab.tasks).toHaveText([/Bread/]);
  const { tasks } = await server.execute("{ tasks(first: 9) { edges { node { title done } } } }");
  expect(tasks.edges.map(({ node }: { node: object }) => node)).toEqual([{ title: "Bread", done: false }]);
});

test("a call that failed says why in its card", async ({ chat, server }) => {
  await server.script(call("completeTask", { id: "nothing" }), say("That did not work."));
  await chat.ask("Finish it");
  const card = chat.cardOf("completeTask");
  await expect(card).toContainText("Failed");
  await card.getByText("completeTask").click();
  await expect(card.getByRole("group", { name: "Result" })).toBeVisible();
  await expectNoAxeViolations(chat.page);
});

test("copying gives Markdown: of a message as it was written, of a block its code", async ({ chat, server, page }) => {
  const code = 'def f(x: int) -> str:\n    return f"{x}"  # *no* emphasis\n';
  const text = `# Title\n\nSome **bold** text, and a table:\n\n| a | b |\n|---|---|\n| 1 | \`2\` |\n\n\`\`\`python\n${code}\`\`\`\n`;
  await server.script(say(text));
  await chat.ask("A **question**");
  await chat.lastReply.getByRole("button", { name: "Copy the reply" }).click();
  await expect.poll(() => readClipboard(page)).toBe(text);
  await chat.lastReply.getByRole("button", { name: "Copy", exact: true }).click();
  await expect.poll(() => readClipboard(page)).toBe(code.trimEnd());
  await chat.questions.last().hover();
  await chat.questions.last().getByRole("button", { name: "Copy your message" }).click();
  await expect.poll(() => readClipboard(page)).toBe("A **question**");
});
