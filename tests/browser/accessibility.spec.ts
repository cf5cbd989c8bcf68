import type { Page } from "@playwright/test";
import { expectNoAxeViolations } from "./checks.ts";
import { corpus } from "./corpus.ts";
import { expect, test } from "./fixtures.ts";
import { call, refuse, say, think } from "./model.ts";
import { storeConversation, storeTask } from "./stored.ts";
import { endWatching, watchAnnouncements } from "./watch.ts";

/** What is to be pressed, and how wide and high it is to be hit: a label belongs to its box. */
async function findSmallTargets(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const WANTED = "button, a[href], input, select, textarea, summary, [role=button]";
    const inProse = (element: Element) => element.localName === "a" && element.closest("[part~=text]") !== null;
    // A modal dialog makes everything else inert.
    const root = [...document.querySelectorAll("dialog:modal")].at(-1) ?? document;
    return [...root.querySelectorAll<HTMLElement>(WANTED)]
      .filter((element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: false }))
      .filter((element) => !inProse(element) && !element.matches(":disabled, .skip"))
      .map((element) => {
        const { width, height } = (element.closest("label") ?? element).getBoundingClientRect();
        const name = element.ariaLabel ?? (element.textContent || element.outerHTML.slice(0, 60));
        return { name: `${element.localName} “${name.trim()}”`, width, height };
      })
      .filter(({ width, height }) => Math.round(width) < 44 || Math.round(height) < 44)
      .map(({ name, width, height }) => `${name} ${width.toFixed(1)} × ${height.toFixed(1)}`);
  });
}

// What fades in has its colours only later.
test.use({ contextOptions: { reducedMotion: "reduce" } });

/** Lets the next Tab go to the first stop of the page. */
async function startAtTop(page: Page): Promise<void> {
  await page.evaluate(() => {
    document.body.tabIndex = -1;
    document.body.focus();
    document.body.removeAttribute("tabindex");
  });
}

const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

for (const scheme of ["light", "dark"] as const) {
  for (const [device, options] of [
    ["desk", {}],
    ["phone", PHONE],
  ] as const) {
    test.describe(`${device}, ${scheme}`, () => {
      test.use({ ...options, colorScheme: scheme });

      test("axe finds nothing, in any state", async ({ chat, server, page, problems }) => {
        problems.allow(/ERR_|Failed to load resource/);
        const id = await storeTask(server, "Milk");
        await page.reload();
        await expect(page.getByRole("heading", { name: "What shall we talk about?" })).toBeVisible();
        await expectNoAxeViolations(page);
        await server.script(
          think("A thought.", corpus.long(), { pace: 60, pieces: 12 }),
          call("deleteTask", { id }, "One moment."),
          say(corpus.languages),
          refuse(400, "invalid_request_error"),
        );
        await chat.send("Everything");
        await chat.waitForText(200);
        await expectNoAxeViolations(page);
        await chat.stopButton.click();
        await chat.send("Delete it");
        await expect(chat.approvalOf("deleteTask")).toBeVisible();
        await expectNoAxeViolations(page);
        await chat.approvalOf("deleteTask").getByRole("button", { name: "Deny" }).click();
        await chat.settle();
        await chat.ask("An error, please");
        await page.route("**/graphql", (route) => route.abort());
        await chat.send("This is not sent");
        await expect(chat.questions.last()).toContainText("Not sent");
        await expectNoAxeViolations(page);
        await page.unroute("**/graphql");
        await chat.transcript.evaluate((log) => (log.scrollTop = -500));
        await expect(chat.jumpButton).toBeVisible();
        await expectNoAxeViolations(page);
      });

      test("axe finds nothing in lists, menus and dialogs either", async ({ chat, server, page, problems }) => {
        problems.allow(/401|Failed to load resource|WebSocket/);
        await storeTask(server, "Milk");
        await storeConversation(server, "Trains");
        await page.reload();
        const openList = async () => {
          if (device === "phone") await page.getByRole("button", { name: "Conversations" }).click();
        };
        if (device === "phone") {
          await chat.tasksButton.click();
          await expect(chat.tasks).toBeVisible();
          await expectNoAxeViolations(page);
          await page.getByRole("button", { name: "Close the to-do list" }).click();
        }
        await openList();
        await expect(chat.entry("Trains")).toBeVisible();
        await expectNoAxeViolations(page);
        await page.getByRole("button", { name: "More for “Trains”" }).click();
        await expectNoAxeViolations(page);
        await page.getByRole("button", { name: "Rename" }).click();
        await expectNoAxeViolations(page);
        await page.keyboard.press("Escape");
        await page.getByRole("searchbox").fill("nothing like it");
        await expect(chat.list).toContainText("Nothing found.");
        await expectNoAxeViolations(page);
        await page.getByRole("searchbox").fill("");
        await chat.choose("Trains", "Delete");
        await expect(page.getByRole("dialog", { name: "Delete this conversation?" })).toBeVisible();
        await expectNoAxeViolations(page);
        await page.evaluate(() => sessionStorage.setItem("loquent-token", "worthless"));
        await page.reload();
        await expect(page.getByRole("dialog", { name: "Loquent" })).toBeVisible();
        await expectNoAxeViolations(page);
      });
    });
  }
}

test("what a screen reader says of a turn is that it began and what was said, once", async ({ chat, server, page }) => {
  await server.script(say("The answer is **forty-two**, in many words. ".repeat(20), { pace: 60, pieces: 10 }));
  await watchAnnouncements(page);
  await chat.ask("What is the answer?");
  const said = await endWatching<string[]>(page);
  expect(said.length).toBeLessThanOrEqual(3);
  expect(said[0]).toBe("Generating…");
  expect(said.at(-1)).toContain("forty-two");
  await expect(chat.transcript).toHaveAttribute("aria-live", "off");
});

test("a turn with a question is announced three times, one that fails or is stopped says so", async ({
  chat,
  server,
  page,
}) => {
  const id = await storeTask(server, "Milk");
  await server.script(
    call("deleteTask", { id }),
    say("It is gone."),
    refuse(400, "invalid_request_error"),
    say("x ".repeat(400), { pace: 30 }),
  );
  await watchAnnouncements(page);
  await chat.send("Delete the milk");
  await chat.approvalOf("deleteTask").getByRole("button", { name: "Approve" }).click();
  await chat.settle();
  expect(await endWatching<string[]>(page)).toEqual(["Generating…", "Waiting for your approval.", "It is gone."]);
  await watchAnnouncements(page);
  await chat.ask("An error, please");
  const failed = await endWatching<string[]>(page);
  expect(failed.length).toBeLessThanOrEqual(3);
  expect(failed.at(-1)).toContain("The reply failed.");
  await watchAnnouncements(page);
  await chat.send("A long one");
  await chat.waitForText(20);
  await page.keyboard.press("Escape");
  await expect(chat.status).toHaveText("Stopped.");
  expect((await endWatching<string[]>(page)).length).toBeLessThanOrEqual(3);
});

test("the Tab key goes through the page in its order, and first past the list", async ({ chat, server, page }) => {
  await storeConversation(server, "Trains");
  await page.reload();
  await expect(chat.composer).toBeFocused();
  await startAtTop(page);
  const seen: string[] = [];
  while (seen.at(-1) !== "Message" && seen.length < 30) {
    await page.keyboard.press("Tab");
    seen.push(
      await page.evaluate(() => {
        const element = document.activeElement as HTMLInputElement;
        return element.ariaLabel ?? (element.labels?.[0]?.textContent || element.textContent);
      }),
    );
  }
  const order = [
    "Skip to the message field",
    "New conversation",
    "Search conversations",
    "Trains",
    "More for “Trains”",
    "Archived",
    "Theme: automatic",
    "To-do list",
    "Messages",
    "Message",
  ];
  expect(order.filter((name) => !seen.includes(name))).toEqual([]);
  expect(seen.filter((name) => order.includes(name))).toEqual(order);

  await page.reload();
  await expect(chat.composer).toBeFocused();
  await startAtTop(page);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await expect(chat.composer).toBeFocused();
});

test.describe("on a phone", () => {
  test.use(PHONE);

  test("a drawer takes the focus, keeps it, and gives it back", async ({ chat, server, page }) => {
    await storeConversation(server, "Trains");
    await page.reload();
    const button = page.getByRole("button", { name: "Conversations" });
    await button.click();
    const drawer = page.getByRole("dialog", { name: "Conversations" });
    await expect(drawer).toBeVisible();
    const isInside = () =>
      drawer.evaluate((dialog) => dialog.contains(document.activeElement) || document.activeElement === document.body);
    for (let press = 0; press < 12; press += 1) {
      await page.keyboard.press("Tab");
      expect(await isInside()).toBe(true);
    }
    await page.keyboard.press("Escape");
    await expect(drawer).toBeHidden();
    await expect(button).toBeFocused();
    await chat.tasksButton.click();
    await expect(page.getByRole("dialog", { name: "To-do list" })).toBeVisible();
    await page.keyboard.press("Escape");
    await expect(chat.tasksButton).toBeFocused();
    await button.click();
    await expect(drawer).toBeVisible();
    await page.mouse.click(380, 400);
    await expect(drawer).toBeHidden();
  });

  test("everything one presses is at least 44 pixels wide and high", async ({ chat, server, page, problems }) => {
    problems.allow(/ERR_|Failed to load resource|401|WebSocket/);
    const id = await storeTask(server, "Milk");
    await storeConversation(server, "Trains");
    await page.reload();
    const found: Record<string, string[]> = {};
    const look = async (state: string) => (found[state] = await findSmallTargets(page));
    await expect(page.getByRole("heading", { name: "What shall we talk about?" })).toBeVisible();
    await look("new");
    await server.script(
      think("A thought.", corpus.everything),
      say("Another version."),
      call("deleteTask", { id }, "One moment."),
      refuse(529, "overloaded_error"),
    );
    await chat.ask("Everything");
    await page.getByRole("button", { name: "Write the reply anew" }).click();
    await expect(page.getByRole("group", { name: "Versions of the reply" })).toHaveText("2/2");
    await chat.settle();
    await page.getByRole("button", { name: "Earlier version" }).click();
    await expect(chat.lastReply.getByText("Reasoning")).toBeVisible();
    await look("reply");
    await page.getByRole("button", { name: "Edit your message" }).click();
    await look("edit");
    await page.keyboard.press("Escape");
    await chat.send("Delete it");
    await expect(chat.approvalOf("deleteTask")).toBeVisible();
    await look("approval");
    await chat.stopButton.click();
    await page.route("**/graphql", (route) => route.abort());
    await chat.send("This is not sent");
    await expect(chat.questions.last()).toContainText("Not sent");
    await look("not sent");
    await page.unroute("**/graphql");
    await page.getByRole("button", { name: "Conversations" }).click();
    await expect(chat.entry("Trains")).toBeVisible();
    await look("list");
    await page.getByRole("button", { name: "More for “Trains”" }).click();
    await look("menu");
    await page.getByRole("button", { name: "Delete", exact: true }).click();
    await look("dialog");
    await page.getByRole("button", { name: "Keep it" }).click();
    await page.keyboard.press("Escape");
    await chat.tasksButton.click();
    await expect(chat.tasks).toBeVisible();
    await look("tasks");
    expect(Object.entries(found).filter(([, small]) => small.length > 0)).toEqual([]);
  });
});
