import { AxeBuilder } from "@axe-core/playwright";
import { expect, type Page } from "@playwright/test";
import { fileURLToPath } from "node:url";

export type Screenshot = (name: string, page?: Page) => Promise<void>;

/** Where `screenshot("name")` writes, past any cleaning up. */
export function screenshotPath(name: string): string {
  return fileURLToPath(new URL(`screenshots/${name}.png`, import.meta.url));
}

/** Waits for what fades or moves in, also in shadow roots: halfway a colour is none that anybody chose. */
async function waitForAnimations(): Promise<void> {
  // What begins with the last change begins with the next frame.
  for (let frames = 0; frames < 2; frames += 1) await new Promise((resolve) => requestAnimationFrame(resolve));
  const shadows = [...document.querySelectorAll("*")].flatMap(({ shadowRoot }) => shadowRoot ?? []);
  const animations = [document, ...shadows].flatMap((root) => root.getAnimations());
  const ending = animations.filter(({ effect }) => effect?.getComputedTiming().endTime !== Infinity);
  await Promise.allSettled(ending.map(({ finished }) => finished));
}

/** What axe finds, a line for each rule and place: `serious color-contrast #send: …`. */
export async function findAxeViolations(page: Page, { exclude = [] as string[] } = {}): Promise<string[]> {
  await page.evaluate(waitForAnimations);
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
