import { expect, type Locator, type Page } from "@playwright/test";

type Editor = "operation.graphql" | "variables.json" | "request-headers.json" | "response.json";

/** GraphiQL as a developer uses it; the texts of its editors are read from Monaco, which shows only some lines. */
export class GraphiQL {
  readonly page: Page;
  readonly run: Locator;
  readonly tabs: Locator;

  constructor(page: Page) {
    this.page = page;
    this.run = page.getByRole("button", { name: /^Execute query/ });
    this.tabs = page.locator(".graphiql-tab-button");
  }

  /** Opens it and waits for its editors. */
  async open(): Promise<void> {
    await this.page.goto("/graphql");
    await expect(this.page.locator(".monaco-editor")).not.toHaveCount(0);
    await expect.poll(() => this.read("operation.graphql")).not.toBe("");
  }

  async openTab(name: string): Promise<void> {
    await this.tabs.getByText(name, { exact: true }).click();
    await expect.poll(() => this.read("operation.graphql")).toContain(name);
  }

  /** The whole text of an editor. */
  async read(editor: Editor): Promise<string> {
    return await this.page.evaluate((name) => {
      const { editor } = (globalThis as unknown as { __MONACO: Monaco }).__MONACO;
      return editor.getModels().find(({ uri }) => uri.path.endsWith(name))?.getValue() ?? "";
    }, editor);
  }

  /** Puts a text in the place of that of an editor, by keyboard. */
  async write(label: "Operation Editor" | "Headers" | "Variables", text: string): Promise<void> {
    const editor = this.page.getByRole("region", { name: label }).locator(".monaco-editor:visible").first();
    await editor.click();
    await this.page.keyboard.press("ControlOrMeta+A");
    await this.page.keyboard.insertText(text);
    // Brackets and quotes that the editor closed by itself.
    await this.page.keyboard.press("ControlOrMeta+Shift+End");
    await this.page.keyboard.press("Delete");
  }

  /** The response, once it is whole JSON. */
  async response(): Promise<{ data?: any; errors?: unknown }> {
    let response: unknown;
    await expect(async () => {
      response = JSON.parse(await this.read("response.json"));
    }).toPass();
    return response as object;
  }

  /** Everything that the browser keeps for this origin beyond the page. */
  async readStorage(): Promise<string> {
    return await this.page.evaluate(async () => {
      const databases = (await indexedDB.databases()).map(({ name }) => name);
      const kept = [{ ...localStorage }, { ...sessionStorage }, document.cookie, databases, await caches.keys()];
      return JSON.stringify(kept);
    });
  }
}

interface Monaco {
  editor: { getModels(): { uri: { path: string }; getValue(): string }[] };
}
