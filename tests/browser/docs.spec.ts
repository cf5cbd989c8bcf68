import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, type Embedded } from "./widget.ts";

const repository = new URL("../..", import.meta.url);
const page = readFileSync(new URL("docs/widget.md", repository), "utf8");

/** What stands between the fences of docs/widget.md in a language. */
function snippets(language: string): string[] {
  const fences = [...page.matchAll(/^```(\w*)\n(.*?)^```$/gms)];
  return fences.filter(([, tag]) => tag === language).map(([, , text]) => text!);
}

/** A page of the foreign site with this body, whose scripts of its own may run. */
function serve(widget: Embedded, body: string): string {
  return widget.serve({ body, script: "", policy: "", own: true });
}

async function ask(widget: Embedded, text: string): Promise<void> {
  await widget.send(text);
  await widget.settle();
  await expect(widget.messages.getByRole("article")).toHaveCount(2);
}

test("the first snippet of the widget's page is a chat", async ({ widget, server, page }) => {
  const [embed] = snippets("html");
  await page.route("**/chat-token", (route) => route.fulfill({ body: server.token("ann") }));
  await page.goto(serve(widget, embed!.replaceAll("https://chat.example", server.url)));
  await widget.launcher.click();
  await ask(widget, "Say 5 words, 100 a second.");
});

test("a button of the site opens it, and the site hears of messages", async ({ widget, server, page }) => {
  const [embed, more] = snippets("html");
  const heard: string[] = [];
  page.on("console", (message) => heard.push(message.text()));
  await page.route("**/chat-token", (route) => route.fulfill({ body: server.token("ann") }));
  await page.goto(serve(widget, (embed! + more!).replaceAll("https://chat.example", server.url)));
  await page.getByRole("button", { name: "Help" }).click();
  await widget.settle();
  await expect.poll(() => heard.filter((line) => /^(USER|ASSISTANT) /.test(line)).length).toBe(2);
  expect(heard).toContain("USER Where is my order?");
});

test("the style sheet of the widget's page changes its looks", async ({ widget, page }) => {
  await page.goto(widget.serve({ head: `<style nonce="docs">${snippets("css")[0]}</style>`, policy: "style-src 'nonce-docs'" }));
  await expect(widget.launcher).toHaveCSS("border-radius", "16px");
  await expect(widget.launcher).toHaveCSS("background-color", "rgb(107, 33, 168)");
});

test("what is to be seen in a minute is seen", async ({ widget, server, page }) => {
  const script = snippets("").find((text) => text.includes("<<END"))!;
  const directory = mkdtempSync(join(tmpdir(), "loquent-docs-"));
  const commands = script
    .replaceAll("http://127.0.0.1:8000", server.url)
    .replaceAll("/tmp/shop", directory)
    .replace("$(.venv/bin/loquent token --sub developer)", server.token("developer"))
    .replace(/^python3 -m http.server.*$/m, "");
  execFileSync("bash", ["-euc", commands]);
  await page.goto(serve(widget, readFileSync(join(directory, "index.html"), "utf8")));
  await widget.launcher.click();
  await page.getByRole("button", { name: "What can you do?" }).click();
  await expect(widget.composer).not.toHaveValue("");
});
