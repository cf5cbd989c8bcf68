import { expectNoAxeViolations, findAxeViolations } from "./checks.ts";
import { expect, test } from "./fixtures.ts";
import { call, randomPieces, refuse, say } from "./model.ts";
import type { Server } from "./server.ts";

const SEND = `mutation ($text: String!) {
  sendMessage(input: { text: $text }) { conversation { id } finishedReply { status text model error { code } } }
}`;

async function ask(server: Server, text: string, owner?: string) {
  return (await server.execute(SEND, { text }, owner)).sendMessage.finishedReply;
}

test("the model says what the test scripts, in its order, and then what the user wishes", async ({ server }) => {
  await server.script(say("# Ä 👍🏽 **bold**", { pieces: randomPieces(3, 1) }), refuse(400, "invalid_request_error"));
  expect(await ask(server, "Hello")).toMatchObject({ status: "COMPLETE", text: "# Ä 👍🏽 **bold**" });
  expect(await ask(server, "Hello")).toMatchObject({ status: "FAILED" });
  expect(await ask(server, "Say 3 words, 100 a second.")).toMatchObject({ text: "word0 word1 word2 " });
});

test("a server that is killed has the same address and the same rows when it is started again", async ({ server }) => {
  const before = await ask(server, "Say 2 words, 0 a second.");
  await server.kill();
  await expect(server.execute("{ viewer { id } }")).rejects.toThrow("fetch failed");
  await server.start();
  const { conversations } = await server.execute(
    "{ conversations(first: 9) { edges { node { messages(last: 1) { edges { node { text } } } } } } }",
  );
  expect(conversations.edges).toHaveLength(1);
  expect(conversations.edges[0].node.messages.edges[0].node.text).toBe(before.text);
});

test("a call of a tool that needs the user's word waits for it", async ({ server }) => {
  const { addTask } = await server.execute('mutation { addTask(input: { title: "Milk" }) { task { id } } }');
  await server.script(call("deleteTask", { id: addTask.task.id }));
  const { sendMessage } = await server.execute(
    'mutation { sendMessage(input: { text: "Delete it" }) { reply { id } } }',
  );
  const status = async () =>
    (await server.execute("query ($id: ID!) { message(id: $id) { status } }", sendMessage.reply)).message.status;
  await expect.poll(status).toBe("AWAITING_APPROVAL");
});

test("tokens are those of their owner, until they expire", async ({ server }) => {
  expect((await server.execute("{ viewer { id } }", {}, "bob")).viewer.id).toBe("bob");
  const response = await fetch(server.endpoint, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${server.token("ann", -60)}` },
    body: JSON.stringify({ query: "{ viewer { id } }" }),
  });
  expect(response.status).toBe(401);
});

test("in production the page has no token", async ({ server, page }) => {
  await server.restart({ command: "serve" });
  await page.goto("/");
  await expect(page.locator('meta[name="loquent-token"]')).toHaveAttribute("content", "");
});

test("a message that is sent on the page gets its reply, by way of the network", async ({ chat, network, server }) => {
  await chat.open(network.url);
  await server.script(say("The answer is **forty-two**."));
  await chat.send("What is the answer?");
  await expect(chat.transcript).toContainText("The answer is forty-two.");
  await chat.settle();
});

test("a network that is cut lets nothing through until it is back", async ({ network }) => {
  expect((await fetch(`${network.url}/healthz`)).status).toBe(200);
  network.goOffline();
  await expect(fetch(`${network.url}/healthz`)).rejects.toThrow();
  network.goOnline();
  expect((await fetch(`${network.url}/healthz`)).status).toBe(200);
});

test("somebody else's site has its own origin and policy, and the server takes its requests", async ({
  server,
  foreignSite,
  page,
  problems,
}) => {
  const policy = `default-src 'none'; connect-src ${server.url}`;
  await page.goto(foreignSite.serve("<main><h1>Shop</h1></main>", policy));
  const status = await page.evaluate(async ({ endpoint, token }) => {
    const headers = { "Content-Type": "application/json", Authorization: `Bearer ${token}` };
    return (await fetch(endpoint, { method: "POST", headers, body: '{"query":"{ viewer { id } }"}' })).status;
  }, { endpoint: server.endpoint, token: server.token("ann") });
  expect(status).toBe(200);
  await expectNoAxeViolations(page);
  expect(problems.list).toEqual([]);
});

test("what a page does wrong is found", async ({ foreignSite, page, problems }) => {
  problems.allow(/.*/);
  await page.goto(foreignSite.serve('<p style="color: #eee">Hi</p><img src="http://192.0.2.1/x.png">'));
  await page.evaluate(() => {
    setTimeout(() => {
      throw new Error("a mistake");
    });
    console.error("a complaint");
  });
  await page.goto(foreignSite.serve('<img src="http://127.0.0.1:9/x.png">', "img-src *", { path: "/2" }));
  await expect(async () => {
    const found = problems.found.join("\n");
    expect(found).toMatch(/policy: style-src-attr forbids inline/);
    expect(found).toMatch(/thrown: .*a mistake/);
    expect(found).toMatch(/console: a complaint/);
    expect(found).toMatch(/foreign host: http:\/\/127\.0\.0\.1:9\/x\.png/);
  }).toPass();
  expect(await findAxeViolations(page)).toContainEqual(expect.stringContaining("critical image-alt img"));
});
