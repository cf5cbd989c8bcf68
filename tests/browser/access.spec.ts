import { corpus } from "./corpus.ts";
import { expect, test } from "./fixtures.ts";
import { call, say } from "./model.ts";
import { storedMessages } from "./stored.ts";

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "connect-src 'self'",
  "img-src 'self'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
  "form-action 'none'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

test("the page has the strictest policy, keeps it in everything it does, and asks nobody else", async ({
  chat,
  server,
  page,
  problems,
}) => {
  const response = await page.goto("/");
  expect(response?.headers()).toMatchObject({
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
  });
  await server.script(
    say(corpus.everything),
    call("addTask", { title: "Milk" }),
    say("Done."),
    call("deleteTask", { id: "none" }),
    say("Done."),
  );
  await chat.ask("Everything");
  await chat.ask("A tool");
  await chat.send("Another one");
  await chat.approvalOf("deleteTask").getByRole("button", { name: "Deny" }).click();
  await chat.settle();
  await page.getByRole("button", { name: /^Theme/ }).click();
  await page.getByRole("checkbox", { name: "Milk" }).check();
  await page.getByRole("searchbox").fill("everything");
  await expect(chat.list.getByRole("link")).toHaveCount(1);
  await page.reload();
  await expect(chat.replies).toHaveCount(3);
  expect(problems.list).toEqual([]);
});

test("Markdown that wants to run, to be followed or to be fetched is only read", async ({ chat, server, page }) => {
  await server.script(say(corpus.hostile, { pieces: 3 }), say(corpus.hostile.replace(/```+/g, "")));
  await chat.ask("Go");
  await chat.ask("<img src=x onerror=\"document.title = 'owned'\"> [x](javascript:document.title='owned')");
  await expect(page).not.toHaveTitle(/owned/);
  await page.reload();
  await expect(chat.replies).toHaveCount(2);
  const inside = (selector: string) => chat.transcript.locator(selector);
  await expect(
    inside("img, script, style:not(svg *), iframe, object, embed, form:not(.edit), svg:not(.icon)"),
  ).toHaveCount(0);
  const links = await inside("a").evaluateAll((anchors) => anchors.map((a) => (a as HTMLAnchorElement).href));
  expect(links.length).toBeGreaterThan(2);
  expect(links.filter((href) => !/^(https?|mailto):/.test(href))).toEqual([]);
  const rels = await inside("a").evaluateAll((anchors) =>
    anchors.map((a) => `${a.getAttribute("target")} ${a.getAttribute("rel")}`),
  );
  expect(new Set(rels)).toEqual(new Set(["_blank noopener noreferrer nofollow"]));
  // An image is a link to it, which nobody follows by looking.
  await expect(inside('a[href="https://example.com/pixel.png"]').first()).toHaveText("remote");
  const handlers = await inside("*").evaluateAll((all) =>
    all.flatMap((element) => element.getAttributeNames().filter((name) => name.startsWith("on") || name === "style")),
  );
  expect(handlers).toEqual([]);
});

test("titles, tasks and tools are text as well", async ({ chat, server, page }) => {
  const evil = "<img src=x onerror=alert(1)>";
  await server.script(call("addTask", { title: evil }), say(evil));
  await chat.ask(evil);
  await expect(chat.tasks).toHaveText([evil]);
  await expect(page.locator("main img, aside img")).toHaveCount(0);
});

test.describe("a token", () => {
  test.beforeEach(({ problems }) => problems.allow(/401|WebSocket|Failed to load resource/));

  test("that expires is asked for, and nothing typed, sent or streamed is lost", async ({ chat, server, page }) => {
    await server.restart({ command: "serve" });
    await chat.page.goto(server.url);
    const dialog = page.getByRole("dialog", { name: "Loquent" });
    const field = dialog.getByLabel("Access token");
    await expect(field).toBeFocused();
    await field.fill("not a token");
    await page.keyboard.press("Enter");
    await expect(dialog.getByRole("alert")).toHaveText("The server refused this token.");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
    await expect(dialog).toBeVisible();

    const text = Array.from({ length: 250 }, (_, index) => `word${index}`).join(" ");
    await server.script(say(text, { pace: 15, pieces: 8 }), say("The second answer."));
    await field.fill(server.token("ann", 8));
    await dialog.getByRole("button", { name: "Continue" }).click();
    await expect(dialog).toBeHidden();
    await chat.send("Go on");
    await chat.waitForText(40);
    await chat.composer.fill("half a thou");
    await expect(dialog).toBeVisible({ timeout: 30_000 });
    await expect(dialog).toContainText("Your token is not valid any more.");
    await expect(field).toBeFocused();
    await field.fill(server.token("ann"));
    await page.keyboard.press("Enter");
    await expect(dialog).toBeHidden();
    await expect(chat.composer).toHaveValue("half a thou");
    await chat.settle();
    await expect(chat.textOf()).toHaveText(text);
    expect((await storedMessages(server, "ann")).at(-1)?.text).toBe(text);
    await chat.ask("And now?");
    await expect(chat.textOf()).toHaveText("The second answer.");
    // The page never wrote it where another tab or the next user would find it.
    expect(await page.evaluate(() => JSON.stringify({ ...localStorage }))).not.toContain("eyJ");
  });

  test("of another user shows nothing of the one before, and no draft either", async ({ chat, server, page }) => {
    await chat.signIn(server, "ann");
    await chat.ask("Ann's question");
    await chat.composer.fill("Ann's draft");
    await chat.signIn(server, "bob");
    await expect(chat.list).toContainText("No conversations yet.");
    await expect(chat.composer).toHaveValue("");
    await expect(page.getByText(/Ann's/)).toHaveCount(0);
    await chat.signIn(server, "ann");
    await expect(chat.list.getByRole("link")).toHaveCount(1);
    await chat.list.getByRole("link").click();
    await expect(chat.composer).toHaveValue("Ann's draft");
  });
});
