import type { Page } from "@playwright/test";
import { findAxeViolations } from "./checks.ts";
import { expect, test as base } from "./fixtures.ts";
import { GraphiQL } from "./graphiql.ts";
import { say } from "./model.ts";

const test = base.extend<{ graphiql: GraphiQL }>({
  graphiql: async ({ page }, use) => {
    const graphiql = new GraphiQL(page);
    await graphiql.open();
    await use(graphiql);
  },
});

const EXAMPLES = ["WhoAmI", "SendMessage", "StreamReply", "Conversations", "Tasks", "AddTask"];

test("each example runs at the first click, the stream to its end", async ({ graphiql, server }) => {
  await expect(graphiql.tabs).toHaveText(EXAMPLES);
  const words = Array.from({ length: 60 }, (_, number) => `word${number}`).join(" ");
  await server.script(say(words, { pace: 15, pieces: 8 }));
  for (const example of EXAMPLES) {
    await graphiql.openTab(example);
    await graphiql.run.click();
    if (example === "StreamReply") {
      await expect.poll(() => graphiql.read("response.json")).toContain('"TextDelta"');
      await expect.poll(() => graphiql.read("response.json"), { timeout: 20_000 }).toContain('"MessageFinished"');
      await expect(graphiql.run).toBeVisible();
    }
    const { data, errors } = await graphiql.response();
    expect(errors, example).toBeUndefined();
    expect(data, example).toBeTruthy();
    if (example === "StreamReply") expect(data.messageStream.message).toEqual({ status: "COMPLETE", text: words });
  }
});

test("an answer that still comes can be stopped", async ({ graphiql, server }) => {
  await server.script(say("One two three four five six seven eight nine ten", { pace: 1 }));
  await graphiql.openTab("SendMessage");
  await graphiql.run.click();
  await graphiql.response();
  await graphiql.openTab("StreamReply");
  await graphiql.run.click();
  await expect.poll(() => graphiql.read("response.json")).toContain("messageStream");
  await graphiql.page.getByRole("button", { name: /^Stop query/ }).click();
  await expect(graphiql.run).toBeVisible();
});

test("the token is kept nowhere, neither the page's nor one that is typed", async ({ graphiql, page, server }) => {
  const given = await page.locator('meta[name="loquent-token"]').getAttribute("content");
  const typed = server.token("ann");
  for (const example of ["WhoAmI", "Tasks"]) {
    await graphiql.openTab(example);
    await graphiql.run.click();
    await graphiql.response();
  }
  await page.getByRole("button", { name: "Headers", exact: true }).click();
  await graphiql.write("Headers", JSON.stringify({ Authorization: `Bearer ${typed}` }));
  await graphiql.openTab("WhoAmI");
  await graphiql.write("Headers", JSON.stringify({ Authorization: `Bearer ${typed}` }));
  await graphiql.run.click();
  await expect.poll(() => graphiql.read("response.json")).toContain('"ann"');
  await page.getByRole("button", { name: "Show History" }).click();

  const expectNoToken = async () => {
    const kept = await graphiql.readStorage();
    expect(kept).toContain("query WhoAmI");
    for (const secret of [given!, typed, "Bearer"]) expect(kept).not.toContain(secret);
  };
  // GraphiQL writes half a second after a change.
  await page.waitForTimeout(1000);
  await expectNoToken();
  await page.reload();
  await expect.poll(() => graphiql.read("request-headers.json")).toContain(given!);
  await page.waitForTimeout(1000);
  await expectNoToken();
});

test("what was run stands in the history, and runs again", async ({ graphiql, page }) => {
  await graphiql.run.click();
  await graphiql.response();
  await page.getByRole("button", { name: "Show History" }).click();
  await graphiql.openTab("Tasks");
  await page.locator(".graphiql-history-item-label").first().click();
  await expect.poll(() => graphiql.read("operation.graphql")).toContain("WhoAmI");
  await graphiql.run.click();
  expect((await graphiql.response()).data.viewer.id).toBe("developer");
});

test("the schema can be read and searched", async ({ graphiql, page }) => {
  await page.getByRole("button", { name: "Show Documentation Explorer" }).click();
  const docs = page.getByRole("region", { name: "Documentation Explorer" }).or(page.locator(".graphiql-plugin"));
  await docs.first().getByRole("link", { name: "Mutation", exact: true }).click();
  await expect(docs.first()).toContainText("Stores the message and starts the reply");
  await page.keyboard.press("ControlOrMeta+Alt+K");
  await page.keyboard.type("TextDelta");
  await page.getByRole("option", { name: "TextDelta" }).first().click();
  await expect(docs.first()).toContainText("UTF-16 code units");
  await graphiql.run.click();
  await graphiql.response();
});

test("the editor knows the schema: it completes, and marks what is wrong", async ({ graphiql, page }) => {
  await graphiql.write("Operation Editor", "{ vie");
  await page.keyboard.press("Control+Space");
  await expect(page.locator(".suggest-widget")).toContainText("viewer");
  await page.keyboard.press("Escape");
  await graphiql.write("Operation Editor", "{ nonsense }");
  await expect(page.locator(".squiggly-error").first()).toBeAttached();
  await graphiql.openTab("SendMessage");
  await graphiql.write("Variables", '{ "input": { "text": 1 } }');
  await expect(page.locator(".graphiql-editor-tool .squiggly-error").first()).toBeAttached();
});

test("prettify keeps comments, find finds", async ({ graphiql, page }) => {
  await graphiql.write("Operation Editor", "# why\nquery WhoAmI{viewer{id}}");
  await graphiql.write("Variables", '{"a":[1,2]}');
  await page.getByRole("button", { name: /^Prettify/ }).click();
  await expect.poll(() => graphiql.read("operation.graphql")).toBe("# why\nquery WhoAmI {\n  viewer {\n    id\n  }\n}\n");
  expect(await graphiql.read("variables.json")).toContain('{\n  "a": [');
  await graphiql.page.getByRole("region", { name: "Operation Editor" }).locator(".view-lines").click();
  await page.keyboard.press("ControlOrMeta+F");
  await expect(page.locator(".find-widget.visible")).toBeVisible();
});

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(`in ${colorScheme}`, () => {
    test.use({ colorScheme });

    test("on a desk", async ({ graphiql, page, takeScreenshot }) => {
      await page.getByRole("button", { name: "Show Documentation Explorer" }).click();
      await runAndShow(graphiql);
      await takeScreenshot(`graphiql-desk-${colorScheme}`);
      await reportAxe(page, `GraphiQL, desk, ${colorScheme}`);
    });

    test.describe("on a phone", () => {
      test.use({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });

      test("question and answer are one above the other, the schema over both", async ({
        graphiql,
        page,
        takeScreenshot,
      }) => {
        await runAndShow(graphiql);
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        expect(width).toBeLessThanOrEqual(390);
        const question = (await page.locator(".graphiql-query-editor").boundingBox())!;
        const answer = (await page.locator(".graphiql-response").boundingBox())!;
        expect(answer.y).toBeGreaterThan(question.y + question.height);
        expect(answer.width).toBeGreaterThan(340);
        await takeScreenshot(`graphiql-phone-${colorScheme}`);
        await page.getByRole("button", { name: "Show Documentation Explorer" }).click();
        await expect(page.getByRole("link", { name: "Query", exact: true })).toBeInViewport();
        await takeScreenshot(`graphiql-phone-docs-${colorScheme}`);
      });
    });
  });
}

test("the editors follow the system when it turns dark", async ({ graphiql, page }) => {
  const editor = page.locator(".monaco-editor").first();
  await expect(editor).toHaveClass(/graphiql-LIGHT|\bvs\b/);
  await graphiql.page.emulateMedia({ colorScheme: "dark" });
  await expect(editor).toHaveClass(/vs-dark/);
});

test("in production there is no GraphiQL", async ({ server, page, problems }) => {
  problems.allow(/Failed to load resource.* 40\d/);
  await server.restart({ command: "serve" });
  expect((await page.goto("/graphql"))!.status()).toBeGreaterThanOrEqual(400);
  expect((await page.request.get("/graphiql/graphiql.js")).status()).toBe(404);
});

async function runAndShow(graphiql: GraphiQL): Promise<void> {
  await graphiql.run.click();
  await graphiql.response();
  await expect(graphiql.page.locator(".graphiql-response .view-line").nth(3)).toBeVisible();
}

/** GraphiQL's own shortcomings are not this project's to mend; they stand in the report of the test. */
async function reportAxe(page: Page, where: string): Promise<void> {
  for (const violation of await findAxeViolations(page)) {
    if (/^(serious|critical)/.test(violation)) test.info().annotations.push({ type: where, description: violation });
  }
}
