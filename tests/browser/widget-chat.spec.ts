import { call, say } from "./model.ts";
import { ANSWER, expect, LONG, test } from "./widget.ts";

test("under a strict policy a message is sent and its reply is streamed", async ({ widget, server }) => {
  await server.script(say(ANSWER, { pace: 60 }));
  await widget.open();
  await widget.send("How hot?");
  await expect(widget.messages).toContainText("Green tea likes 70");
  await widget.settle();
  await expect(widget.messages.getByRole("listitem")).toHaveCount(3);
  await expect(widget.messages).toContainText("return tea.brew(celsius=75, minutes=2)");
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

test("which model answers is not asked", async ({ widget, server, page }) => {
  await server.restart({ environment: { LOQUENT_MODELS: "claude-sonnet-5-5,claude-haiku-5-5" } });
  const models = page.waitForResponse((response) => response.request().postData()?.includes("models") ?? false);
  await widget.open();
  await models;
  await expect(widget.panel.getByRole("combobox")).toBeHidden();
  expect((await widget.panel.locator("[part=composer]").boundingBox())!.height).toBeLessThan(60);
});
