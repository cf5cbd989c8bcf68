import { AxeBuilder } from "@axe-core/playwright";
import { expect, type Page } from "@playwright/test";
import { fileURLToPath } from "node:url";

export type Screenshot = (name: string, page?: Page) => Promise<void>;

/** Where `screenshot("name")` writes, past any cleaning up. */
export function screenshotPath(name: string): string {
  return fileURLToPath(new URL(`screenshots/${name}.png`, import.meta.url));
}

/** What axe finds, a line for each rule and place: `serious color-contrast #send: …`. */
export async function findAxeViolations(page: Page, { exclude = [] as string[] } = {}): Promise<string[]> {
  const builder = exclude.reduce((axe, selector) => axe.exclude(selector), new AxeBuilder({ page }));
  const { violations } = await builder.analyze();
  return violations.flatMap(({ impact, id, nodes, help }) =>
    nodes.map((node) => `${impact} ${id} ${node.target.join(" ")}: ${help}`),
  );
}

/** The page has no violation of any rule of axe. */
export async function expectNoAxeViolations(page: Page, options?: { exclude?: string[] }): Promise<void> {
  expect(await findAxeViolations(page, options)).toEqual([]);
}
