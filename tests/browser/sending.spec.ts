import type { Page, Request } from "@playwright/test";
import { measureMachine } from "./cpu.ts";
import { expect, test } from "./fixtures.ts";
import { refuse, say, type Answer } from "./model.ts";
import { storedMessages } from "./stored.ts";

const LONG = Array.from({ length: 400 }, (_, index) => `word${index}`).join(" ");

const slowly = (pace = 40): Answer => say(LONG, { pace, pieces: 8 });

interface Input {
  text?: string;
  idempotencyKey?: string;
}

/** The input of a request that sends a message; null for any other. */
function readSend(request: Request): Input | null {
  const input = (request.postDataJSON() as { variables?: { input?: Input } } | null)?.variables?.input;
  return input?.text !== undefined ? input : null;
}

/** Lets sends go as `handle` says, and gives the inputs of all of them. */
async function watchSends(page: Page, handle: (count: number) => "pass" | "fail" | "lose answer"): Promise<Input[]> {
  const sends: Input[] = [];
  await page.route("**/graphql", async (route) => {
    const input = readSend(route.request());
    if (!input) return route.fallback();
    sends.push(input);
    const fate = handle(sends.length);
    if (fate === "pass") return route.fallback();
    if (fate === "lose answer") await route.fetch();
    return route.abort("connectionreset");
  });
  return sends;
}

test.describe("a message that could not be sent", () => {
  test.beforeEach(({ problems }) => problems.allow(/ERR_CONNECTION|ERR_INTERNET|Failed to load resource|WebSocket/));

  test("stays, marked, and is sent again under the same key", async ({ chat, server, page }) => {
    const sends = await watchSends(page, (count) => (count === 1 ? "fail" : "pass"));
    await chat.send("Hello?");
    const question = chat.questions.last();
    await expect(question).toContainText("Not sent");
    await expect(question.getByRole("alert")).toContainText("The server cannot be reached.");
    await expect(chat.replies).toHaveCount(0);
    expect(await storedMessages(server)).toEqual([]);
    await question.getByRole("button", { name: "Retry" }).click();
    await expect(chat.replies).toHaveCount(1);
    await chat.settle();
    await expect(chat.questions).toHaveCount(1);
    await expect(question).not.toContainText("Not sent");
    expect(sends[1]).toEqual(sends[0]);
    expect((await storedMessages(server)).map(({ role }) => role)).toEqual(["USER", "ASSISTANT"]);
  });

  test("although the server has it is stored once all the same", async ({ chat, server, page }) => {
    const sends = await watchSends(page, (count) => (count === 1 ? "lose answer" : "pass"));
    await chat.send("Hello?");
    await chat.questions.last().getByRole("button", { name: "Retry" }).click();
    await expect(chat.replies).toHaveCount(1);
    await chat.settle();
    expect(sends.map(({ idempotencyKey }) => idempotencyKey)).toEqual(Array(2).fill(sends[0]?.idempotencyKey));
    expect((await storedMessages(server)).map(({ text }) => text)[0]).toBe("Hello?");
    expect(await storedMessages(server)).toHaveLength(2);
    await expect(chat.questions).toHaveCount(1);
  });

  test("survives a reload, and can be discarded", async ({ chat, server, page }) => {
    await watchSends(page, () => "fail");
    await chat.send("Hello?");
    await expect(chat.questions.last()).toContainText("Not sent");
    await page.reload();
    await expect(chat.questions.last()).toContainText(/Hello\?.*Not sent/s);
    await chat.questions.last().getByRole("button", { name: "Discard" }).click();
    await expect(chat.questions).toHaveCount(0);
    await page.reload();
    await expect(chat.composer).toBeVisible();
    await expect(chat.questions).toHaveCount(0);
    expect(await storedMessages(server)).toEqual([]);
  });

  test("leaves the composer free for the next one", async ({ chat, page }) => {
    await watchSends(page, (count) => (count === 1 ? "fail" : "pass"));
    await chat.send("The first");
    await expect(chat.questions.last()).toContainText("Not sent");
    await chat.send("The second");
    await expect(chat.replies).toHaveCount(1);
    await expect(chat.questions.filter({ hasText: "The first" })).toContainText("Not sent");
  });
});

test("an error never looks like an answer", async ({ chat, server }) => {
  await server.script(refuse(400, "invalid_request_error", "The prompt is wrong"), say("Now it works."));
  await chat.ask("Hello");
  await expect(chat.noteOf()).toBeVisible();
  await expect(chat.textOf()).toHaveCount(0);
  await expect(chat.lastReply.getByRole("button", { name: "Copy the reply" })).toHaveCount(0);
  expect((await storedMessages(server)).at(-1)?.status).toBe("FAILED");
});

test("a reply that broke off keeps its text, says so apart from it, and can be tried again", async ({
  chat,
  server,
  page,
}) => {
  await server.script(
    say("The beginning of an answer", { fault: { after_tokens: 4, kind: "cut" } }),
    say("A whole answer."),
  );
  await chat.ask("Hello");
  await expect(chat.textOf()).toHaveText("The beginning of");
  await expect(chat.noteOf()).toContainText("The connection to the model broke.");
  await chat.noteOf().getByRole("button", { name: "Try again" }).click();
  await expect(chat.textOf()).toHaveText("A whole answer.");
  await expect(chat.noteOf()).toHaveCount(0);
  await expect(page.getByRole("group", { name: "Versions of the reply" })).toHaveText("2/2");
});

test.describe("stop", () => {
  test("stands where Send stood, and ends the reply at once, whatever the server does", async ({
    chat,
    server,
    page,
  }) => {
    const factor = await measureMachine(page);
    await server.script(slowly());
    const place = await chat.sendButton.boundingBox();
    await chat.send("Go on");
    await expect(chat.stopButton).toBeVisible();
    expect(await chat.stopButton.boundingBox()).toEqual(place);
    await chat.waitForText(60);
    let release = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    await page.route("**/graphql", async (route) => {
      await held;
      await route.fallback();
    });
    await page.evaluate(() => {
      addEventListener("click", (event) => {
        const look = () => {
          const isFree = document.querySelector("button[aria-label^=Stop]") === null;
          if (isFree) document.body.dataset["freeAfter"] = String(performance.now() - event.timeStamp);
          else requestAnimationFrame(look);
        };
        look();
      });
    });
    await chat.stopButton.click();
    await expect(chat.stopButton).toBeHidden();
    await expect(chat.sendButton).toBeVisible();
    await expect(chat.composer).toBeFocused();
    await page.keyboard.type("And now?");
    await expect(chat.sendButton).toBeEnabled();
    expect(await chat.sendButton.boundingBox()).toEqual(place);
    const freeAfter = Number(await page.locator("body").getAttribute("data-free-after"));
    console.log(`free ${freeAfter.toFixed(0)} ms after the click`);
    expect(freeAfter).toBeLessThan(100 * factor);
    release();
  });

  test("works by Escape, keeps the text so far, and marks it", async ({ chat, server, page }) => {
    await server.script(slowly(), say("The next answer."));
    await chat.send("Go on");
    await chat.waitForText(60);
    await expect(chat.composer).toBeFocused();
    await page.keyboard.press("Escape");
    await expect(chat.stopButton).toBeHidden();
    await expect(chat.lastReply).toContainText("Stopped");
    await expect(chat.status).toHaveText("Stopped.");
    await expect.poll(async () => (await storedMessages(server)).at(-1)?.status).toBe("STOPPED");
    const stored = (await storedMessages(server)).at(-1)!;
    expect(LONG.startsWith(stored.text)).toBe(true);
    await expect(chat.textOf()).toHaveText(stored.text.trim());
    await page.reload();
    await expect(chat.lastReply).toContainText("Stopped");
    await expect(chat.textOf()).toHaveText(stored.text.trim());
    await chat.ask("And now?");
    await expect(chat.textOf()).toHaveText("The next answer.");
  });
});

test("an edited message is another version, and both can be leafed through, also after a reload", async ({
  chat,
  server,
  page,
}) => {
  await server.script(say("The first answer."), say("The second answer."), say("To the edited one."));
  await chat.ask("One");
  await chat.ask("Two");
  const first = chat.questions.first();
  await first.hover();
  await first.getByRole("button", { name: "Edit your message" }).click();
  const field = page.getByRole("textbox", { name: "Your message" });
  await expect(field).toBeFocused();
  await expect(field).toHaveValue("One");
  await field.fill("Uno");
  await field.press("Enter");
  await expect(chat.textOf()).toHaveText("To the edited one.");
  await expect(chat.questions).toHaveText([/Uno/]);
  await chat.settle();
  const versions = page.getByRole("group", { name: "Versions of your message" });
  await expect(versions).toHaveText("2/2");
  await versions.getByRole("button", { name: "Earlier version" }).click();
  await expect(versions).toHaveText("1/2");
  await expect(chat.questions).toHaveText([/One/, /Two/]);
  await expect(chat.textOf()).toHaveText("The second answer.");
  await page.reload();
  await expect(versions).toHaveText("2/2");
  await expect(chat.questions).toHaveText([/Uno/]);
  await versions.getByRole("button", { name: "Earlier version" }).click();
  await expect(chat.questions).toHaveText([/One/, /Two/]);
  await versions.getByRole("button", { name: "Later version" }).click();
  await expect(chat.textOf()).toHaveText("To the edited one.");
});

test("Escape leaves an edited message as it was", async ({ chat, server, page }) => {
  await chat.ask("One");
  await chat.questions.first().hover();
  await page.getByRole("button", { name: "Edit your message" }).click();
  await page.keyboard.type(" and a half");
  await page.keyboard.press("Escape");
  await expect(chat.questions).toHaveText([/One/]);
  await expect(page.getByRole("button", { name: "Edit your message" })).toBeFocused();
  expect(await storedMessages(server)).toHaveLength(2);
});

test("a reply that is written anew stands beside the old one", async ({ chat, server, page }) => {
  await server.script(say("The first try."), say("The second try."));
  await chat.ask("Hello");
  await page.getByRole("button", { name: "Write the reply anew" }).click();
  await expect(chat.textOf()).toHaveText("The second try.");
  const versions = page.getByRole("group", { name: "Versions of the reply" });
  await expect(versions).toHaveText("2/2");
  await versions.getByRole("button", { name: "Earlier version" }).click();
  await expect(chat.textOf()).toHaveText("The first try.");
  await expect(chat.replies).toHaveCount(1);
});

test("a rating is kept, and taken back by a second click", async ({ chat, server, page }) => {
  await chat.ask("Hello");
  const up = page.getByRole("button", { name: "Good reply" });
  const down = page.getByRole("button", { name: "Bad reply" });
  const stored = async () => (await storedMessages(server)).at(-1)?.rating;
  await up.click();
  await expect(up).toHaveAttribute("aria-pressed", "true");
  await expect.poll(stored).toBe("UP");
  await down.click();
  await expect(up).toHaveAttribute("aria-pressed", "false");
  await expect.poll(stored).toBe("DOWN");
  await page.reload();
  await expect(down).toHaveAttribute("aria-pressed", "true");
  await down.click();
  await expect.poll(stored).toBe(null);
});

test.describe("a draft", () => {
  test("survives a reload, each in its own conversation", async ({ chat, page }) => {
    await chat.ask("Hello");
    await chat.composer.fill("half a thou");
    await chat.newButton.click();
    await expect(chat.composer).toHaveValue("");
    await chat.composer.fill("another");
    await page.reload();
    await expect(chat.composer).toHaveValue("another");
    await page.goBack();
    await expect(chat.composer).toHaveValue("half a thou");
  });

  test("survives a crash of the page", async ({ chat, page }) => {
    await chat.composer.fill("half a thou");
    const tab = await chat.openTab(page.context());
    await tab.page.close();
    const crashed = page.waitForEvent("crash");
    await page.goto("chrome://crash").catch(() => {});
    await crashed;
    const again = await chat.openTab(page.context());
    await expect(again.composer).toHaveValue("half a thou");
  });

  test("may have 32,000 characters, as the server counts them", async ({ chat, server }) => {
    await chat.composer.fill("😀".repeat(32_000));
    await expect(chat.sendButton).toBeEnabled();
    await chat.composer.fill(`${"😀".repeat(32_000)}x`);
    await expect(chat.page.getByText("1 characters too many")).toBeVisible();
    await expect(chat.sendButton).toBeDisabled();
    await chat.composer.press("Enter");
    await expect(chat.questions).toHaveCount(0);
    await chat.composer.fill("😀".repeat(32_000));
    await chat.ask("😀".repeat(32_000));
    expect([...(await storedMessages(server))[0]!.text]).toHaveLength(32_000);
  });
});

test("Enter that ends a composition sends nothing, Shift and Enter begin a line", async ({ chat, page, server }) => {
  const client = await page.context().newCDPSession(page);
  await chat.composer.focus();
  await client.send("Input.imeSetComposition", { text: "にほんご", selectionStart: 4, selectionEnd: 4 });
  // As browsers report the Enter that takes the suggestion.
  await client.send("Input.dispatchKeyEvent", {
    type: "rawKeyDown",
    windowsVirtualKeyCode: 229,
    key: "Process",
    code: "Enter",
  });
  await chat.composer.dispatchEvent("keydown", { key: "Enter", isComposing: true, bubbles: true, cancelable: true });
  await chat.composer.dispatchEvent("keydown", { key: "Enter", keyCode: 229, bubbles: true, cancelable: true });
  await client.send("Input.insertText", { text: "日本語" });
  await expect(chat.composer).toHaveValue("日本語");
  await expect(chat.questions).toHaveCount(0);
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("next line");
  await expect(chat.composer).toHaveValue("日本語\nnext line");
  await page.keyboard.press("Enter");
  await expect(chat.replies).toHaveCount(1);
  expect((await storedMessages(server))[0]?.text).toBe("日本語\nnext line");
});

test("whoever may choose a model chooses it for each conversation", async ({ chat, server, page }) => {
  const picker = page.getByRole("combobox", { name: "Model" });
  await expect(picker).toHaveCount(0);
  await server.restart({ environment: { LOQUENT_MODEL: "small", LOQUENT_MODELS: "small,large" } });
  await chat.open(server.url);
  await expect(picker).toHaveValue("small");
  await picker.selectOption("large");
  await chat.ask("Hello");
  await expect(chat.lastReply).toContainText("large");
  await picker.selectOption("small");
  await chat.ask("Hello again");
  await expect(chat.lastReply).toContainText("small");
  const models = (await server.requests())
    .filter(({ messages }) => messages.length % 2 === 1)
    .map(({ model }) => model);
  expect(models).toEqual(expect.arrayContaining(["large", "small"]));
  await page.reload();
  await expect(picker).toHaveValue("small");
  await chat.newButton.click();
  await expect(picker).toHaveValue("small");
});
