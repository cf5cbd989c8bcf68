import type { Page } from "@playwright/test";
import { corpus } from "./corpus.ts";
import { expect, test } from "./fixtures.ts";
import { call, say, think } from "./model.ts";
import { storeConversation, storeTask } from "./stored.ts";

interface Measures {
  header: number;
  inputs: string[];
  lines: string[];
  beyond: number;
  scrollers: string[];
}

/** What the rules bound, of the page as it is now. */
async function measure(page: Page): Promise<Measures> {
  return page.evaluate(() => {
    const shown = <Wanted extends HTMLElement>(selector: string) =>
      [...document.querySelectorAll<Wanted>(selector)].filter((element) => element.checkVisibility());
    const style = (element: Element) => getComputedStyle(element);
    const px = (text: string) => Number.parseFloat(text);
    const ch = (element: Element) => {
      const probe = document.createElement("span");
      probe.style.setProperty("width", "1ch");
      probe.style.setProperty("display", "inline-block");
      element.append(probe);
      const { width } = probe.getBoundingClientRect();
      probe.remove();
      return width;
    };
    const prose = shown("[part~=text] p, [part~=text] li").filter((element) => element.textContent.length > 0);
    return {
      header: shown("header")[0]?.getBoundingClientRect().height ?? 0,
      inputs: shown("input:not([type=checkbox]), textarea, select")
        .filter((element) => px(style(element).fontSize) < 16)
        .map((element) => `${element.ariaLabel ?? element.outerHTML} ${style(element).fontSize}`),
      lines: prose.flatMap((element) => {
        const characters = element.getBoundingClientRect().width / ch(element);
        const height = px(style(element).lineHeight) / px(style(element).fontSize);
        return characters > 72.5 || height < 1.5
          ? [`${characters.toFixed(1)} ch, line height ${height.toFixed(2)}: ${element.textContent.slice(0, 40)}`]
          : [];
      }),
      beyond: document.documentElement.scrollWidth - innerWidth,
      scrollers: shown("[part~=text] pre, [part~=text] .table")
        .filter((box) => box.getBoundingClientRect().right > innerWidth || box.scrollWidth > box.clientWidth + 1)
        .map((box) => `${box.localName} ${style(box).overflowX} ${Math.round(box.getBoundingClientRect().right)}`),
    };
  });
}

const WIDE = `\n\n| ${"a wide column | ".repeat(12)}\n|${"---|".repeat(12)}\n| ${"some text in it | ".repeat(12)}\n\n\`\`\`ts\nconst line = "${"long ".repeat(60)}";\n\`\`\`\n`;

const WIDTHS = { 390: 844, 768: 1024, 1280: 800 };

for (const [width, height] of Object.entries(WIDTHS)) {
  const isPhone = width === "390";
  test.describe(`${width} px wide`, () => {
    test.use({ viewport: { width: Number(width), height }, hasTouch: isPhone, isMobile: isPhone });

    test("header, fields, lines and boxes keep their measures, in light, dark and auto", async ({
      chat,
      server,
      page,
      takeScreenshot,
    }) => {
      const id = await storeTask(server, "Milk");
      await storeTask(server, "A task whose title is so long that it needs two lines in the list");
      await storeConversation(server, "A conversation with quite a long title that does not fit");
      await page.reload();
      await takeScreenshot(`chat-${width}-new`);
      await server.script(
        think("A thought.", corpus.everything + WIDE),
        say(corpus.languages),
        call("deleteTask", { id }, "One moment."),
      );
      await chat.ask("Everything, please. And be quick about it, for there is little time and much to read.");
      await expect(chat.textOf().locator("pre code span").first()).toBeAttached();
      await chat.ask("In all languages");
      await chat.send("Delete the milk");
      await expect(chat.approvalOf("deleteTask")).toBeVisible();
      const measures = await measure(page);
      expect(measures.header).toBeLessThanOrEqual(56);
      if (isPhone) expect(measures.inputs).toEqual([]);
      else expect(measures.inputs.filter((input) => /Message|Model|Note/.test(input))).toEqual([]);
      expect(measures.lines).toEqual([]);
      expect(measures.beyond).toBeLessThanOrEqual(0);
      // What is too wide scrolls in its own box, which itself is not too wide.
      expect(measures.scrollers.length).toBeGreaterThanOrEqual(isPhone ? 2 : 1);
      for (const scroller of measures.scrollers) {
        expect(scroller).toMatch(/^(pre|div) auto \d+$/);
        expect(Number(scroller.split(" ")[2])).toBeLessThanOrEqual(Number(width));
      }
      for (const scheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme: scheme });
        await takeScreenshot(`chat-${width}-auto-${scheme}`);
        await chat.transcript.evaluate((log) => (log.scrollTop = -log.scrollHeight));
        await takeScreenshot(`chat-${width}-auto-${scheme}-top`);
        await page.getByRole("button", { name: "Newest message" }).or(chat.jumpButton).click();
      }
      await page.emulateMedia({ colorScheme: "dark" });
      const theme = page.getByRole("button", { name: /^Theme/ });
      const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const auto = await background();
      await theme.click();
      await expect(theme).toHaveAccessibleName("Theme: light");
      const light = await background();
      await takeScreenshot(`chat-${width}-light`);
      await theme.click();
      await expect(theme).toHaveAccessibleName("Theme: dark");
      await takeScreenshot(`chat-${width}-dark`);
      expect([auto === light, (await background()) === auto]).toEqual([false, true]);
      await page.reload();
      await expect(theme).toHaveAccessibleName("Theme: dark");
    });
  });
}

test.describe("on a phone", () => {
  test.use({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });

  test("answers have no bubble and take the width there is", async ({ chat, server, page }) => {
    await server.script(say(corpus.everything));
    await chat.ask("Everything");
    const look = await chat.textOf().evaluate((part) => {
      const chain: string[] = [];
      for (let box: HTMLElement = part as HTMLElement; box.role !== "log"; box = box.parentElement!) {
        const { backgroundColor, borderTopWidth, boxShadow } = getComputedStyle(box);
        chain.push(`${backgroundColor} ${borderTopWidth} ${boxShadow}`);
      }
      return { chain: [...new Set(chain)], width: part.getBoundingClientRect().width };
    });
    expect(look.chain).toEqual(["rgba(0, 0, 0, 0) 0px none"]);
    expect(look.width).toBeGreaterThanOrEqual(390 - 2 * 16);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
  });

  test("drawers, menu, edit and dialog are there to be looked at", async ({ chat, server, page, takeScreenshot }) => {
    await storeTask(server, "Milk");
    await storeConversation(server, "Trains", "When does the train leave?");
    await page.reload();
    await page.getByRole("button", { name: "Conversations" }).click();
    await expect(chat.entry("Trains")).toBeVisible();
    await takeScreenshot("chat-390-list");
    await page.getByRole("button", { name: "More for “Trains”" }).click();
    await takeScreenshot("chat-390-menu");
    await page.getByRole("button", { name: "Delete", exact: true }).click();
    await takeScreenshot("chat-390-dialog");
    await page.getByRole("button", { name: "Keep it" }).click();
    await chat.entry("Trains").click();
    await expect(chat.replies).toHaveCount(1);
    await page.getByRole("button", { name: "Edit your message" }).click();
    await takeScreenshot("chat-390-edit");
    await page.keyboard.press("Escape");
    await chat.tasksButton.click();
    await expect(chat.tasks).toBeVisible();
    await takeScreenshot("chat-390-tasks");
  });
});

test("each block has its own direction, code is always left to right", async ({ chat, server, takeScreenshot }) => {
  await server.script(say(corpus.languages));
  await chat.ask("مرحبا، كيف تعمل الخوادم؟");
  const directions = await chat
    .textOf()
    .evaluate((part) =>
      [...part.children].map(
        (block) => `${block.localName} ${getComputedStyle(block).direction} ${block.getAttribute("dir")}`,
      ),
    );
  expect(directions).toContain("h3 rtl auto");
  expect(directions).toContain("ul rtl auto");
  expect(directions).toContain("p ltr auto");
  expect(directions).toContain("figure ltr ltr");
  expect(directions.filter((direction) => !/ (auto|ltr)$/.test(direction))).toEqual([]);
  const codes = await chat
    .textOf()
    .locator("code")
    .evaluateAll((all) => all.map((code) => getComputedStyle(code).direction));
  expect(new Set(codes)).toEqual(new Set(["ltr"]));
  expect(
    await chat.questions
      .last()
      .locator("[dir=auto]")
      .evaluate((box) => getComputedStyle(box).direction),
  ).toBe("rtl");
  await takeScreenshot("chat-languages");
});

test("a page that is laid out from right to left is a mirror image", async ({ chat, server, page, takeScreenshot }) => {
  const id = await storeTask(server, "حليب");
  await storeConversation(server, "القطارات");
  await page.reload();
  await page.evaluate(() => (document.documentElement.dir = "rtl"));
  await server.script(say(corpus.languages), call("deleteTask", { id }));
  await chat.ask("مرحبا");
  await chat.send("احذف");
  await expect(chat.approvalOf("deleteTask")).toBeVisible();
  const center = async (box: { boundingBox(): Promise<{ x: number; width: number } | null> }) => {
    const { x, width } = (await box.boundingBox())!;
    return x + width / 2;
  };
  expect(await center(chat.list)).toBeGreaterThan(await center(chat.transcript));
  expect(await center(chat.tasks.first())).toBeLessThan(await center(chat.transcript));
  expect(await center(chat.stopButton)).toBeLessThan(await center(chat.composer));
  expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
  await takeScreenshot("chat-rtl");
});
