import { gzipSync } from "node:zlib";
import { expectNoAxeViolations } from "./checks.ts";
import { say } from "./model.ts";
import { countHeld, countSubscriptions, expect, LONG, test, type LoquentChat } from "./widget.ts";

test("the script is small, and everything that the page asks for besides its data", async ({
  widget,
  server,
  page,
}) => {
  const requests: string[] = [];
  page.on("request", (request) => requests.push(new URL(request.url()).pathname));
  await page.goto(widget.serve());
  await expect(widget.launcher).toBeVisible();
  await page.waitForLoadState("networkidle");
  expect(requests.filter((path) => path !== "/favicon.ico")).toEqual(["/", "/widget.js"]);
  const response = await fetch(`${server.url}/widget.js`, { headers: { Origin: "https://shop.example" } });
  expect(response.headers.get("Access-Control-Allow-Origin")).toBe("*");
  expect(response.headers.get("Cross-Origin-Resource-Policy")).toBe("cross-origin");
  expect(gzipSync(await response.text(), { level: 9 }).length).toBeLessThan(60_000);
});

test("the element tells of its opening, of each message once, and of its closing", async ({ widget, server }) => {
  await widget.listen();
  await server.script(say("It is **tea**."));
  await widget.open();
  await widget.send("What is it?");
  await widget.settle();
  await widget.panel.getByRole("button", { name: "Close", exact: true }).click();
  const [sent, finished] = await widget.events("loquent-message");
  expect(sent).toMatchObject({ role: "USER", text: "What is it?" });
  expect(finished).toMatchObject({
    role: "ASSISTANT",
    text: "It is **tea**.",
    conversationId: sent?.["conversationId"],
  });
  expect(await widget.events("loquent-message")).toHaveLength(2);
  expect(await widget.events("loquent-open")).toHaveLength(1);
  expect(await widget.events("loquent-close")).toHaveLength(1);
  const { message } = await server.execute(
    "query ($id: ID!) { message(id: $id) { text } }",
    { id: finished?.["id"] },
    "ann",
  );
  expect(message.text).toBe("It is **tea**.");
  expect(await widget.element.evaluate((element: LoquentChat) => element.conversation)).toBe(sent?.["conversationId"]);
});

test("a page sends for its user; the launcher says that the reply is there", async ({ widget, server, page }) => {
  await page.goto(widget.serve({ attributes: 'heading="Ask us"' }));
  await server.script(say("Your order is on its way."));
  await widget.element.evaluate((element: LoquentChat) => element.send("Where is my order?"));
  await page.getByRole("button", { name: "Ask us, new reply" }).click();
  await expect(widget.messages).toContainText("Your order is on its way.");
  await widget.composer.press("Escape");
  await expect(page.getByRole("button", { name: "Ask us", exact: true })).toBeFocused();
});

test("an element that is removed leaves nothing open, and works when it is back", async ({ widget, server, page }) => {
  await server.script(say("Hello."), say("Still here."));
  const count = await countHeld(page);
  await page.goto(widget.serve());
  await expect(widget.launcher).toBeVisible();
  await page.evaluate(() => {
    const element = document.querySelector("loquent-chat")!;
    element.remove();
    Object.assign(window, { element });
  });
  const before = await count();
  const putBack = () => page.evaluate(() => document.body.append((window as unknown as { element: Element }).element));
  await putBack();
  await widget.launcher.click();
  await widget.send("Hello");
  await expect(widget.messages).toContainText("Hello.");
  expect(await countSubscriptions(server)).toBeGreaterThan(0);
  const meanwhile = await count();
  expect(meanwhile.sockets).toBe(1);
  expect(meanwhile.listeners).toBeGreaterThan(before.listeners);
  await page.evaluate(() => document.querySelector("loquent-chat")!.remove());
  await expect.poll(() => countSubscriptions(server)).toBe(0);
  await expect.poll(count).toEqual(before);
  await putBack();
  await expect(widget.messages).toContainText("Hello.");
  await widget.send("And now?");
  await expect(widget.messages).toContainText("Still here.");
});

test("an element that is moved keeps what is typed and goes on", async ({ widget, server, page }) => {
  await server.script(say(LONG, { pace: 40 }));
  await widget.open();
  await widget.send("Go on");
  await widget.composer.fill("a thought");
  await expect(widget.messages).toContainText("word3");
  await page.evaluate(() => document.querySelector("main")!.append(document.querySelector("loquent-chat")!));
  await expect(widget.composer).toHaveValue("a thought");
  await expect(widget.messages).toContainText("word119", { timeout: 30_000 });
});

test("several elements on one page are chats of their own", async ({ widget, server, page }) => {
  const element = (id: string, more: string) =>
    `<loquent-chat id="${id}" heading="${id}" endpoint="${server.endpoint}" token="${server.token("ann")}" ${more}></loquent-chat>`;
  const body = `<main><h1>A shop</h1></main>${element("Tea", "position=start")}${element("Coffee", "")}`;
  await page.goto(widget.serve({ body }));
  await server.script(say("Of tea."), say("Of coffee."));
  for (const name of ["Tea", "Coffee"]) {
    await page.getByRole("button", { name, exact: true }).click();
    const panel = page.getByRole("dialog", { name });
    await panel.getByRole("textbox", { name: "Message", exact: true }).fill(`Of ${name}`);
    await panel.getByRole("button", { name: "Send", exact: true }).click();
    await expect(panel.getByRole("log")).toContainText(`Of ${name.toLowerCase()}.`);
  }
  await expectNoAxeViolations(page);
  await page.reload();
  await expect(page.getByRole("dialog", { name: "Tea" })).toContainText("Of tea.");
  await expect(page.getByRole("dialog", { name: "Coffee" })).toContainText("Of coffee.");
  await expect(page.getByRole("dialog", { name: "Tea" })).not.toContainText("Of coffee.");
});

test("what is set on an element before its class is there holds; a module and a second script do no harm", async ({
  widget,
  server,
  page,
}) => {
  const src = `${server.url}/widget.js`;
  await page.addInitScript((token) => {
    // The document is being parsed, and no script of the widget has run.
    new MutationObserver((_, observer) => {
      const element = document.querySelector("loquent-chat");
      if (!element) return;
      observer.disconnect();
      Object.assign(element, { getToken: async () => token, suggestions: ["Which tea?"] });
    }).observe(document, { childList: true, subtree: true });
  }, server.token("ann"));
  const script = `<script type="module" src="${src}" crossorigin></script><script defer src="${src}"></script>`;
  await widget.open({ attributes: 'token=""', script });
  await widget.panel.getByRole("button", { name: "Which tea?" }).click();
  await server.script(say("Green tea."));
  await widget.composer.press("Enter");
  await expect(widget.messages).toContainText("Green tea.");
});
