import { expect, test } from "vitest";
import { outline } from "./outline";

const html = (text: string, open = false): string => outline(text, open).replace(/^<p>|<\/p>$/g, "");
const HREF = "https://example.org";

test.each([
  [
    "*a* **b** ***c*** _d_ ~~e~~",
    "<em>a</em> <strong>b</strong> <em><strong>c</strong></em> <em>d</em> <del>e</del>",
  ],
  ["**a *b* c**", "<strong>a <em>b</em> c</strong>"],
  ["2 * 3 * 4 and a_b_c and ~5~", "2 * 3 * 4 and a_b_c and ~5~"],
  ["**重要：**请 **「引用」**です", "<strong>重要：</strong>请 <strong>「引用」</strong>です"],
  ["`*a*` ``b ` c`` *d `e*`", "<code>*a*</code> <code>b ` c</code> *d <code>e*</code>"],
  ["\\*a\\* &lt;b&gt; &#8364; &nosuch; &copy;", "*a* &lt;b> € &amp;nosuch; ©"],
  ["a  \nb\\\nc\nd", "a<br>b<br>c\nd"],
  ["<b title='*x*'> <!-- *y* --> a <b", "&lt;b title='*x*'> &lt;!-- *y* --> a &lt;b"],
])("%j becomes %j", (text, expected) => {
  expect(html(text)).toBe(expected);
});

test.each([
  [`[a *b*](${HREF} "t")`, `<a ${HREF}>a <em>b</em></a>`],
  [`[a](<${HREF}/x y>) [b](${HREF}/(c))`, `<a ${HREF}/x y>a</a> <a ${HREF}/(c)>b</a>`],
  [`see ${HREF}/a_b. (${HREF}/x)`, `see <a ${HREF}/a_b>${HREF}/a_b</a>. (<a ${HREF}/x>${HREF}/x</a>)`],
  [
    "www.example.org, ann@example.org",
    `<a ${HREF.replace("//", "//www.")}>www.example.org</a>, <a mailto:ann@example.org>ann@example.org</a>`,
  ],
  [`![a *cat*](${HREF}/c.png) ![](${HREF})`, `<a ${HREF}/c.png>a cat</a> <a ${HREF}>${HREF}</a>`],
  [`[![a](${HREF}/b.svg)](${HREF})`, `<a ${HREF}>a</a>`],
  [`[[a](${HREF})](${HREF})`, `[<a ${HREF}>a</a>](<a ${HREF}>${HREF}</a>)`],
  ["[a][b] [c]", "[a][b] [c]"],
])("%j links to where it says", (text, expected) => {
  expect(html(text)).toBe(expected);
});

test.each([
  "[a](javascript:alert)",
  "[a](JAVASCRIPT:alert)",
  "[a](java&#115;cript:alert)",
  "[a](data:text/html,x)",
  "[a](vbscript:x)",
  "[a](file:///etc/passwd)",
  "[a](/relative)",
  "[a](//example.org)",
  "![a](javascript:x)",
])("%j is the text of the link and no link", (text) => {
  expect(html(text)).toBe("a");
});

test.each([
  ["a **b", "a"],
  ["a *b* c", "a <em>b</em> c"],
  ["a **b*", "a"],
  ["a `b", "a"],
  ["a `b`", "a"],
  ["a `b` ", "a <code>b</code>"],
  ["a [b", "a"],
  ["a [b](http", "a"],
  ["a [b]", "a"],
  ["a [b] c", "a [b] c"],
  ["a ![", "a"],
  ["a !", "a"],
  ["a ~~b~", "a"],
  ["a &am", "a"],
  ["a \\", "a"],
  ["a <b", "a"],
  ["a < b", "a &lt; b"],
  ["a https://exa", "a"],
  ["a ht", "a"],
  ["a 2 * 3", "a 2 * 3"],
  ["a b@c", "a b"],
  ["a \ud83d", "a"],
])("of a growing %j, %j is certain", (text, expected) => {
  expect(html(text, true).trimEnd()).toBe(expected);
});

test("a marker that stays alone holds text back for a while only", () => {
  const words = "word ".repeat(300);
  expect(html(`a *b ${words}`, true)).toContain("*b word");
});
