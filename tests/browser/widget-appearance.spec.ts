import { expectNoAxeViolations } from "./checks.ts";
import { call, say } from "./model.ts";
import { ANSWER, expect, test } from "./widget.ts";

test("its variables and parts are the page's to style", async ({ widget }) => {
  const css = `loquent-chat { --loquent-accent: rgb(90, 30, 120); --loquent-radius: 0; --loquent-width: 320px;
      --loquent-z-index: 7; --loquent-font: serif; --loquent-inset: 8px; }
    loquent-chat::part(launcher) { border-radius: 12px; }
    loquent-chat::part(header) { background: rgb(1, 2, 3); }
    loquent-chat::part(send) { background: rgb(4, 5, 6); }`;
  await widget.page.goto(widget.serve({ head: `<style>${css}</style>`, policy: "style-src 'unsafe-inline'" }));
  await expect(widget.launcher).toHaveCSS("background-color", "rgb(90, 30, 120)");
  await expect(widget.launcher).toHaveCSS("border-radius", "12px");
  await expect(widget.launcher).toHaveCSS("bottom", "8px");
  await widget.launcher.click();
  await expect(widget.panel).toHaveCSS("border-radius", "0px");
  await expect(widget.panel).toHaveCSS("width", "320px");
  await expect(widget.panel).toHaveCSS("z-index", "7");
  await expect(widget.panel.locator("[part=header]")).toHaveCSS("background-color", "rgb(1, 2, 3)");
  await expect(widget.sendButton).toHaveCSS("background-color", "rgb(4, 5, 6)");
  await expect(widget.composer).toHaveCSS("font-family", "serif");
});

test("the styles of a hostile page end at the element, and its direction is followed", async ({
  widget,
  server,
  takeScreenshot,
}) => {
  const css = `* { all: unset; color: red !important; font: 40px cursive !important; text-transform: uppercase;
      letter-spacing: 9px; line-height: 3; --accent: red; --text: red; --page: lime; }
    body * { display: block; opacity: 0.2; filter: blur(2px); transform: rotate(3deg); contain: strict; zoom: 1.5 }
    html { direction: rtl } button, textarea, dialog { display: none !important } script, style, title { display: none }
    body, main, p, h1 { display: block }`;
  const url = widget.serve({ head: `<style>${css}</style>`, policy: "style-src 'unsafe-inline'" });
  await widget.page.goto(url);
  await widget.page.evaluate(() => (document.documentElement.dir = "rtl"));
  await server.script(say("مرحبا! هذا **شاي** أخضر.\n\nAnd a line of English."));
  await widget.launcher.click();
  await widget.send("ما هذا؟");
  await widget.settle();
  const reply = widget.messages.locator("[part=text]");
  await expect(reply).toHaveCSS("font-size", "16px");
  await expect(reply).toHaveCSS("color", "rgb(27, 32, 33)");
  await expect(reply).toHaveCSS("letter-spacing", "normal");
  // The end of a line is on the left.
  await expect.poll(() => widget.panel.boundingBox()).toMatchObject({ x: 20, width: 400 });
  expect((await widget.sendButton.boundingBox())!.x).toBeLessThan((await widget.composer.boundingBox())!.x);
  await takeScreenshot("widget-hostile-rtl");
});

test("the colour scheme is what the page declares, else the system's, else what the attribute says", async ({
  widget,
  page,
}) => {
  const DARK = "rgb(22, 25, 27)";
  const LIGHT = "rgb(253, 253, 252)";
  const policy = "style-src 'unsafe-inline'";
  await page.emulateMedia({ colorScheme: "dark" });
  await widget.open();
  await expect(widget.panel).toHaveCSS("background-color", DARK);
  await widget.element.evaluate((element) => element.setAttribute("theme", "light"));
  await expect(widget.panel).toHaveCSS("background-color", LIGHT);
  await page.goto(widget.serve({ head: "<style>:root { color-scheme: light }</style>", policy }));
  await expect(widget.panel).toHaveCSS("background-color", LIGHT);
  await page.emulateMedia({ colorScheme: "light" });
  await page.goto(widget.serve({ attributes: "theme=dark" }));
  await expect(widget.panel).toHaveCSS("background-color", DARK);
});

test.describe("on a phone", () => {
  test.use({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });

  test("the panel is a sheet over the page, easy to hit and to read", async ({
    widget,
    server,
    page,
    takeScreenshot,
  }) => {
    const { addTask } = await server.execute(
      'mutation { addTask(input: { title: "Milk" }) { task { id } } }',
      {},
      "ann",
    );
    await server.script(say(ANSWER), call("deleteTask", { id: addTask.task.id }, "One moment."));
    await widget.open({ attributes: 'heading="Tea shop" suggestions="How hot for green tea? | Where is my order?"' });
    await expect.poll(() => widget.panel.boundingBox()).toEqual({ x: 0, y: 0, width: 390, height: 844 });
    await takeScreenshot("widget-phone-greeting");
    await widget.send("How hot?");
    await widget.settle();
    await takeScreenshot("widget-phone");
    await widget.send("Delete it");
    await expect(widget.panel.getByRole("button", { name: "Approve" })).toBeVisible();
    await takeScreenshot("widget-phone-approval");
    for (const button of await widget.panel.getByRole("button").all()) {
      const box = await button.boundingBox();
      if (!box || (await button.evaluate((element) => getComputedStyle(element).opacity)) === "0") continue;
      const name = await button.evaluate((element) => element.outerHTML);
      expect(Math.min(box.width, box.height), name).toBeGreaterThanOrEqual(44);
    }
    for (const field of await widget.panel.getByRole("textbox").all()) {
      expect(parseFloat(await field.evaluate((element) => getComputedStyle(element).fontSize))).toBeGreaterThanOrEqual(
        16,
      );
    }
    await expectNoAxeViolations(page);
  });

  test("the page behind stays where it is, and is free again when the sheet closes", async ({ widget, page }) => {
    await page.goto(widget.serve());
    await widget.launcher.tap();
    await expect(widget.panel).toBeVisible();
    const overflow = () => page.evaluate(() => document.documentElement.style.overflow);
    expect(await overflow()).toBe("hidden");
    await widget.panel.getByRole("button", { name: "Close", exact: true }).tap();
    await expect(widget.panel).toBeHidden();
    expect(await overflow()).toBe("");
    await expect(widget.launcher).toBeVisible();
  });

  test("the keyboard on the screen makes the sheet smaller", async ({ widget, page }) => {
    await widget.open();
    await page.evaluate(() => {
      Object.defineProperty(visualViewport!, "height", { value: 460 });
      Object.defineProperty(visualViewport!, "offsetTop", { value: 30 });
      visualViewport!.dispatchEvent(new Event("resize"));
    });
    await expect.poll(() => widget.panel.boundingBox()).toEqual({ x: 0, y: 30, width: 390, height: 460 });
    const send = (await widget.sendButton.boundingBox())!;
    expect(send.y + send.height).toBeLessThan(490);
  });

  test("turned on its side and back, the panel keeps what is in it", async ({ widget, page }) => {
    await widget.open();
    await widget.composer.fill("a thought");
    await page.setViewportSize({ width: 1024, height: 768 });
    await expect(widget.panel).toHaveCSS("width", "400px");
    await expect(widget.composer).toHaveValue("a thought");
    await expect(widget.composer).toBeFocused();
    expect(await page.evaluate(() => document.documentElement.style.overflow)).toBe("");
    await page.setViewportSize({ width: 390, height: 844 });
    await expect(widget.panel).toHaveCSS("width", "390px");
    await expect(widget.composer).toBeFocused();
  });
});

for (const colorScheme of ["light", "dark"] as const) {
  test(`it looks well, ${colorScheme}`, async ({ widget, server, page, takeScreenshot }) => {
    await page.emulateMedia({ colorScheme });
    const head = `<style>:root { color-scheme: light dark } body { font: 17px/1.6 Georgia, serif; max-width: 60ch; margin: 60px auto }</style>`;
    const attributes =
      'heading="Tea shop" greeting="What would you like to know about tea?" suggestions="How hot for green tea? | Where is my order? | Which tea in the evening?"';
    await page.goto(widget.serve({ head, attributes, policy: "style-src 'unsafe-inline'" }));
    await expect(widget.launcher).toBeVisible();
    await takeScreenshot(`widget-launcher-${colorScheme}`);
    await widget.launcher.click();
    await expect(widget.composer).toBeVisible();
    await takeScreenshot(`widget-greeting-${colorScheme}`);
    await server.script(call("tasks", {}), say(ANSWER));
    await widget.send("How hot for green tea?");
    await widget.settle();
    await page.mouse.move(10, 10);
    await takeScreenshot(`widget-${colorScheme}`);
    await page.getByRole("button", { name: "Earlier conversations" }).click();
    await expect(page.getByRole("navigation", { name: "Earlier conversations" }).getByRole("listitem")).toHaveCount(1);
    await takeScreenshot(`widget-conversations-${colorScheme}`);
  });
}
