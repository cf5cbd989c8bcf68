import { say } from "./model.ts";
import type { Server } from "./server.ts";
import { type Embedded, expect, LONG, test } from "./widget.ts";

test("what one user had open, the next one on this browser does not see", async ({ widget, server, page }) => {
  await server.script(say("A secret of Ann's."));
  await widget.open();
  await widget.send("Tell me");
  await expect(widget.messages).toContainText("A secret of Ann's.");
  await page.goto(widget.serve({ attributes: `token="${server.token("bob")}"` }));
  await expect(widget.panel.getByText("How can I help?")).toBeVisible();
  await expect(widget.messages).not.toContainText("secret");
});

/** Opens a widget that asks its site for tokens, the first for so many seconds; gives how many it has asked for. */
async function openWithTokens(widget: Embedded, server: Server, first: number): Promise<() => number> {
  let asked = 0;
  await widget.page.exposeFunction("readToken", () => server.token("ann", asked++ === 0 ? first : 3600));
  await widget.page.goto(widget.serve({ attributes: 'token="none"' }));
  await widget.element.evaluate((element) => {
    Object.assign(element, { getToken: (window as unknown as { readToken: () => Promise<string> }).readToken });
  });
  await widget.launcher.click();
  return () => asked;
}

test("a token that has expired is renewed by the callback, and nobody notices", async ({
  widget,
  server,
  problems,
}) => {
  problems.allow(/401|WebSocket/);
  const asked = await openWithTokens(widget, server, -60);
  await server.script(say("You are let in."));
  await widget.send("Hello");
  await expect(widget.messages).toContainText("You are let in.");
  expect(asked()).toBe(2);
});

test("a token that ends in the middle of a reply is renewed, and no word is lost", async ({
  widget,
  server,
  problems,
}) => {
  problems.allow(/401|WebSocket/);
  const asked = await openWithTokens(widget, server, 4);
  await server.script(say(LONG, { pace: 20 }));
  await widget.send("Go on");
  await expect(widget.messages).toContainText("word119", { timeout: 40_000 });
  await widget.settle();
  await expect(widget.messages.locator("[part=text]")).toHaveText(LONG);
  expect(asked()).toBe(2);
});

test("a refused token is said and told; the next one finishes what was begun", async ({
  widget,
  server,
  page,
  problems,
}) => {
  problems.allow(/401|WebSocket/);
  await widget.listen();
  await page.goto(widget.serve({ attributes: `token="${server.token("ann", -60)}"` }));
  await widget.launcher.click();
  await widget.send("Hello");
  await expect(widget.panel.getByRole("alert")).toContainText("no access");
  await expect.poll(() => widget.events("loquent-error")).toMatchObject([{ code: "UNAUTHENTICATED" }]);
  await server.script(say("Welcome back."));
  await widget.element.evaluate((element, token) => Object.assign(element, { token }), server.token("ann"));
  await expect(widget.messages).toContainText("Welcome back.");
  await expect(widget.panel.getByText("no access")).toBeHidden();
});

test("an element whose token is taken away forgets what it showed", async ({ widget, server }) => {
  await server.script(say("Only for Ann."));
  await widget.open();
  await widget.send("Hello");
  await expect(widget.messages).toContainText("Only for Ann.");
  await widget.element.evaluate((element) => element.removeAttribute("token"));
  await expect(widget.panel.getByRole("alert")).toContainText("no access");
  await expect(widget.messages).not.toContainText("Only for Ann.");
});
