import { gzipSync } from "node:zlib";
import { expectNoAxeViolations } from "./checks.ts";
import { call, say } from "./model.ts";
import { countHeld, countSubscriptions, expect, test, type LoquentChat } from "./widget.ts";

const LONG = Array.from({ length: 120 }, (_, index) => `word${index}`).join(" ");
const ANSWER = `Green tea likes **70 to 80 °C**; hotter, and it turns bitter.

1. Warm the pot.
2. Two grams for a cup.
3. Steep for *two minutes*.

\`\`\`python
def steep(tea: Tea) -> Cup:
    return tea.brew(celsius=75, minutes=2)
\`\`\``;

test("under a strict policy a message is sent and its reply is streamed", async ({ widget, server }) => {
  await server.script(say(ANSWER, { pace: 60 }));
  await widget.open();
  await widget.send("How hot?");
  await expect(widget.messages).toContainText("Green tea likes 70");
  await widget.settle();
  await expect(widget.messages.getByRole("listitem")).toHaveCount(3);
  await expect(widget.messages).toContainText("return tea.brew(celsius=75, minutes=2)");
});

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

test("a reply that is stopped keeps its words and gives the composer back", async ({ widget, server }) => {
  await server.script(say(LONG, { pace: 20 }));
  await widget.open();
  await widget.send("Go on");
  await expect(widget.messages).toContainText("word2");
  await widget.stopButton.click();
  await expect(widget.messages.getByText("Stopped")).toBeVisible();
  await expect(widget.messages).toContainText("word2");
  await expect(widget.composer).toBeFocused();
});

test("Escape stops a reply first, and closes the panel then", async ({ widget, server }) => {
  await server.script(say(LONG, { pace: 20 }));
  await widget.open();
  await widget.send("Go on");
  await expect(widget.messages).toContainText("word1");
  await widget.composer.press("Escape");
  await expect(widget.messages.getByText("Stopped")).toBeVisible();
  await expect(widget.panel).toBeVisible();
  await widget.composer.press("Escape");
  await expect(widget.panel).toBeHidden();
});

test("a tool call that needs the user's word is approved in the panel", async ({ widget, server }) => {
  const { addTask } = await server.execute('mutation { addTask(input: { title: "Milk" }) { task { id } } }', {}, "ann");
  await server.script(call("deleteTask", { id: addTask.task.id }), say("It is gone."));
  await widget.open();
  await widget.send("Delete it");
  await widget.panel.getByRole("button", { name: "Approve" }).click();
  await expect(widget.messages).toContainText("It is gone.");
  expect((await server.execute("{ tasks(first: 9) { edges { node { id } } } }", {}, "ann")).tasks.edges).toEqual([]);
});

test("after a reload in the middle of a reply it goes on in the open panel", async ({ widget, server, page }) => {
  await server.script(say(LONG, { pace: 40 }));
  await widget.open();
  await widget.send("Go on");
  await expect(widget.messages).toContainText("word5");
  await page.reload();
  await expect(widget.messages).toContainText("word119", { timeout: 30_000 });
  await widget.settle();
  await expect(widget.messages.locator("[part=text]")).toHaveText(LONG);
  await expect(widget.composer, "nobody has asked for the focus").not.toBeFocused();
});

test("without any storage everything works but the memory", async ({ widget, server, page }) => {
  await page.addInitScript(() => {
    for (const name of ["localStorage", "sessionStorage"]) {
      Object.defineProperty(window, name, {
        get() {
          throw new DOMException("The operation is insecure.", "SecurityError");
        },
      });
    }
  });
  await server.script(say("Hello to you."));
  await widget.open();
  await widget.send("Hello");
  await expect(widget.messages).toContainText("Hello to you.");
  await page.reload();
  await expect(widget.panel).toBeHidden();
});

test("what one user had open, the next one on this browser does not see", async ({ widget, server, page }) => {
  await server.script(say("A secret of Ann's."));
  await widget.open();
  await widget.send("Tell me");
  await expect(widget.messages).toContainText("A secret of Ann's.");
  await page.goto(widget.serve({ attributes: `token="${server.token("bob")}"` }));
  await expect(widget.panel.getByText("How can I help?")).toBeVisible();
  await expect(widget.messages).not.toContainText("secret");
});

test("a conversation that was deleted meanwhile makes room for a new one", async ({ widget, server, page }) => {
  await widget.listen();
  await server.script(say("Hello."));
  await widget.open();
  await widget.send("Hello");
  await expect.poll(() => widget.events("loquent-message")).toHaveLength(2);
  const [{ conversationId: id }] = (await widget.events("loquent-message")) as [{ conversationId: string }];
  const remove = "mutation ($id: ID!) { deleteConversation(input: { id: $id }) { __typename } }";
  await page.goto("about:blank");
  await server.execute(remove, { id }, "ann");
  await page.goto(widget.serve());
  await expect(widget.panel.getByText("How can I help?")).toBeVisible();
});

test("a token that has expired is renewed by the callback, and nobody notices", async ({
  widget,
  server,
  page,
  problems,
}) => {
  problems.allow(/401|WebSocket/);
  let asked = 0;
  await page.exposeFunction("readToken", () => server.token("ann", asked++ === 0 ? -60 : 3600));
  await page.goto(widget.serve({ attributes: 'token="none"' }));
  await widget.element.evaluate((element) => {
    Object.assign(element, { getToken: (window as unknown as { readToken: () => Promise<string> }).readToken });
  });
  await widget.launcher.click();
  await server.script(say("You are let in."));
  await widget.send("Hello");
  await expect(widget.messages).toContainText("You are let in.");
  expect(asked).toBe(2);
});

test("a token that ends in the middle of a reply is renewed, and no word is lost", async ({
  widget,
  server,
  page,
  problems,
}) => {
  problems.allow(/401|WebSocket/);
  let asked = 0;
  await page.exposeFunction("readToken", () => server.token("ann", asked++ === 0 ? 4 : 3600));
  await page.goto(widget.serve({ attributes: 'token="none"' }));
  await widget.element.evaluate((element) => {
    Object.assign(element, { getToken: (window as unknown as { readToken: () => Promise<string> }).readToken });
  });
  await widget.launcher.click();
  await server.script(say(LONG, { pace: 20 }));
  await widget.send("Go on");
  await expect(widget.messages).toContainText("word119", { timeout: 40_000 });
  await widget.settle();
  await expect(widget.messages.locator("[part=text]")).toHaveText(LONG);
  expect(asked).toBe(2);
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

test("a message that cannot be sent stays, and the page is told", async ({ widget, network, problems }) => {
  problems.allow(/ERR_|WebSocket/);
  await widget.listen();
  await widget.open({ through: network.url });
  network.goOffline();
  await widget.send("Hello");
  await expect(widget.messages.getByText("Not sent.")).toBeVisible();
  await expect.poll(() => widget.events("loquent-error")).toMatchObject([{ code: "NOT_SENT" }]);
  network.goOnline();
  await widget.messages.getByRole("button", { name: "Retry" }).click();
  await widget.settle();
  await expect(widget.messages.getByText("Not sent.")).toBeHidden();
});

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

test("earlier conversations are a click away, and a new one too", async ({ widget, server, page }) => {
  await server.script(say("About the first."), say("About the second."));
  await widget.open();
  await widget.send("The first");
  await expect(widget.messages).toContainText("About the first.");
  await page.getByRole("button", { name: "New conversation" }).click();
  await expect(widget.composer).toBeFocused();
  await widget.send("The second");
  await expect(widget.messages).toContainText("About the second.");
  const button = page.getByRole("button", { name: "Earlier conversations" });
  const list = page.getByRole("navigation", { name: "Earlier conversations" });
  await button.click();
  await expect(list.getByRole("listitem")).toHaveCount(2);
  await page.keyboard.press("Escape");
  await expect(list).toBeHidden();
  await expect(button).toBeFocused();
  await button.click();
  await list.getByRole("listitem").last().getByRole("button").click();
  await expect(list).toBeHidden();
  await expect(widget.messages).toContainText("About the first.");
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

test("which model answers is not asked", async ({ widget, server, page }) => {
  await server.restart({ environment: { LOQUENT_MODELS: "claude-sonnet-5-5,claude-haiku-5-5" } });
  const models = page.waitForResponse((response) => response.request().postData()?.includes("models") ?? false);
  await widget.open();
  await models;
  await expect(widget.panel.getByRole("combobox")).toBeHidden();
  expect((await widget.panel.locator("[part=composer]").boundingBox())!.height).toBeLessThan(60);
});

test("who wants less motion sees none", async ({ widget, page }) => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  await widget.open();
  await expect(widget.panel).toHaveCSS("animation-duration", "1e-05s");
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
