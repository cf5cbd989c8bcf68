import { expectNoAxeViolations } from "./checks.ts";
import { call, say } from "./model.ts";
import { ANSWER, expect, test, type LoquentChat } from "./widget.ts";

test("by keyboard: Tab reaches the launcher, opening focuses the composer, Escape goes back", async ({
  widget,
  page,
}) => {
  await page.goto(widget.serve());
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await expect(widget.launcher).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(widget.composer).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(widget.panel).toBeHidden();
  await expect(widget.launcher).toBeFocused();
});

test("the keys go through the panel in the order in which it is read", async ({ widget, page }) => {
  await widget.open({ attributes: 'suggestions="One | Two"' });
  const names = [];
  await page.getByRole("button", { name: "Earlier conversations" }).focus();
  for (let count = 0; count < 7; count += 1) {
    names.push(
      await page.evaluate(() => {
        const active = document.querySelector("loquent-chat")!.shadowRoot!.activeElement;
        return active?.getAttribute("aria-label") ?? active?.textContent;
      }),
    );
    await page.keyboard.press("Tab");
  }
  expect(names).toEqual(["Earlier conversations", "New conversation", "Close", "Messages", "One", "Two", "Message"]);
});

test("a button of the page that opens the panel has the focus back after it", async ({ widget, page }) => {
  await page.goto(widget.serve());
  await page.evaluate(() => {
    const button = document.createElement("button");
    button.textContent = "Help";
    button.onclick = () => document.querySelector("loquent-chat")!.open();
    document.querySelector("main")!.append(button);
  });
  await page.getByRole("button", { name: "Help" }).click();
  await expect(widget.composer).toBeFocused();
  await widget.composer.press("Escape");
  await expect(page.getByRole("button", { name: "Help" })).toBeFocused();
});

test("an open panel takes no focus from who writes on the page", async ({ widget, page }) => {
  await page.goto(widget.serve({ attributes: "open" }));
  await expect(widget.composer).toBeVisible();
  await page.evaluate(() => {
    const field = document.createElement("input");
    document.querySelector("main")!.append(field);
    field.focus();
  });
  await widget.element.evaluate((element: LoquentChat) => (element.conversation = null));
  await page.keyboard.type("tea");
  await expect(page.locator("main input")).toHaveValue("tea");
});

test("shortcuts of the page do not hear what is typed into the chat", async ({ widget, page }) => {
  await widget.open();
  await page.evaluate(() => {
    const heard: string[] = [];
    Object.assign(window, { heard });
    for (const type of ["keydown", "keypress", "keyup"]) {
      document.addEventListener(type, (event) => heard.push((event as KeyboardEvent).key));
    }
  });
  await widget.composer.pressSequentially("s/");
  expect(await page.evaluate(() => (window as unknown as { heard: string[] }).heard)).toEqual([]);
  await expect(widget.composer).toHaveValue("s/");
});

test("axe finds nothing, closed or open, empty or in conversation, light or dark", async ({ widget, server, page }) => {
  const { addTask } = await server.execute('mutation { addTask(input: { title: "Milk" }) { task { id } } }', {}, "ann");
  await page.goto(widget.serve({ attributes: 'suggestions="One | Two"' }));
  await expect(widget.launcher).toBeVisible();
  await expectNoAxeViolations(page);
  await widget.launcher.click();
  await expect(widget.composer).toBeVisible();
  await expectNoAxeViolations(page);
  await server.script(say(ANSWER), call("deleteTask", { id: addTask.task.id }, "One moment."));
  await widget.send("How hot?");
  await widget.settle();
  await widget.send("Delete it");
  await expect(widget.panel.getByRole("button", { name: "Approve" })).toBeVisible();
  await page.getByRole("button", { name: "Earlier conversations" }).click();
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    await expectNoAxeViolations(page);
  }
});

test("who wants less motion sees none", async ({ widget, page }) => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  await widget.open();
  await expect(widget.panel).toHaveCSS("animation-duration", "1e-05s");
});
