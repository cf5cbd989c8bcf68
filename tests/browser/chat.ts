import { expect, type BrowserContext, type Locator, type Page } from "@playwright/test";
import type { Server } from "./server.ts";

/** The chat page as a user finds it: by roles and names, not by its elements. */
export class Chat {
  readonly page: Page;
  readonly composer: Locator;
  readonly sendButton: Locator;
  readonly stopButton: Locator;
  readonly transcript: Locator;
  /** What the user said, stored or on its way, oldest first. */
  readonly questions: Locator;
  readonly replies: Locator;
  readonly lastReply: Locator;
  /** The way back to the end, for who has scrolled up. */
  readonly jumpButton: Locator;
  /** The line below the composer that is read out. */
  readonly status: Locator;
  readonly header: Locator;
  /** "Reconnecting…" or "Offline", while it is so. */
  readonly connection: Locator;
  /** The conversations; in a drawer where the page is narrow. */
  readonly list: Locator;
  readonly newButton: Locator;
  readonly tasks: Locator;
  readonly tasksButton: Locator;

  constructor(page: Page) {
    this.page = page;
    this.composer = page.getByRole("textbox", { name: "Message", exact: true });
    this.sendButton = page.getByRole("button", { name: /^send/i });
    this.stopButton = page.getByRole("button", { name: /^stop/i });
    this.transcript = page.getByRole("log");
    const turn = (heading: RegExp) =>
      this.transcript.getByRole("article").filter({ has: page.getByRole("heading", { name: heading, level: 2 }) });
    this.questions = turn(/^You said$/);
    this.replies = turn(/^(?!You).* said$/);
    this.lastReply = this.replies.last();
    this.jumpButton = page.getByRole("button", { name: /new text|newest message/i });
    this.status = page.locator('[part~="status"]');
    this.header = page.locator('[part~="header"]');
    this.connection = this.header.getByText(/^(Reconnecting…|Offline)$/);
    this.list = page.getByRole("navigation");
    this.newButton = page.getByRole("button", { name: "New conversation", exact: true }).first();
    this.tasks = page.getByRole("list", { name: "Tasks" }).getByRole("listitem");
    this.tasksButton = page.getByRole("button", { name: /^To-do list/ });
  }

  /** Opens the page and waits until one can write; `url` is the server's, or the proxy's. */
  async open(url: string): Promise<void> {
    await this.page.goto(url);
    await expect(this.composer).toBeVisible();
  }

  /** Opens the page as another user, by a token of theirs. */
  async signIn(server: Server, owner: string, lifetime?: number): Promise<void> {
    const token = server.token(owner, lifetime);
    await this.page.evaluate((value) => sessionStorage.setItem("loquent-token", value), token);
    await this.page.goto(server.url);
    await this.page.reload();
    await expect(this.composer).toBeVisible();
  }

  /** Another tab of the same user, at the same address. */
  async openTab(context: BrowserContext): Promise<Chat> {
    const tab = new Chat(await context.newPage());
    await tab.open(this.page.url());
    return tab;
  }

  /** Sends a message as a user does; does not wait for the reply. */
  async send(text: string): Promise<void> {
    await this.composer.fill(text);
    await this.composer.press("Enter");
  }

  /** Sends a message and waits for its reply. */
  async ask(text: string): Promise<void> {
    const count = await this.replies.count();
    await this.send(text);
    await expect(this.replies).toHaveCount(count + 1);
    await this.settle();
  }

  /** Waits until no reply is being written. */
  async settle(): Promise<void> {
    await expect(this.stopButton).toBeHidden({ timeout: 40_000 });
  }

  /** What a reply says, as it is read; its tool calls, notes and buttons are not part of it. */
  textOf(reply: Locator = this.lastReply): Locator {
    return reply.locator('[part~="text"]');
  }

  /** Waits until the last reply shows more than so many characters. */
  async waitForText(length: number): Promise<void> {
    const shown = async () => (await this.textOf().allTextContents()).join("").length;
    await expect.poll(shown, { intervals: [50], timeout: 20_000 }).toBeGreaterThan(length);
  }

  /** A reply that ended otherwise than well says so here, not in its own voice. */
  noteOf(reply: Locator = this.lastReply): Locator {
    return reply.locator('[part~="error"]');
  }

  /** The question whether a tool may run. */
  approvalOf(tool: string): Locator {
    return this.page.getByRole("group", { name: `May ${tool} run?` });
  }

  /** The card of the newest call of a tool. */
  cardOf(tool: string): Locator {
    return this.transcript.locator('[part~="tool-call"]').filter({ hasText: tool }).last();
  }

  /** An entry of the list of conversations. */
  entry(title: string | RegExp): Locator {
    return this.list.getByRole("link", { name: title });
  }

  /** Chooses from the menu of a conversation in the list. */
  async choose(title: string, action: "Rename" | "Archive" | "Unarchive" | "Delete"): Promise<void> {
    await this.list.getByRole("listitem").filter({ hasText: title }).hover();
    await this.page.getByRole("button", { name: `More for “${title}”` }).click();
    await this.page.getByRole("button", { name: action, exact: true }).click();
  }
}
