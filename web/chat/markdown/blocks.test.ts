import { expect, test } from "vitest";
import { outline } from "./outline";

const cases: Record<string, [string, string]> = {
  "a rule and an underline are told apart": ["a\n\n---\nb\n---", "<p>a</p><hr><h2>b</h2>"],
  "closing marks of a heading go": ["# a # b ##", "<h1>a # b</h1>"],
  "seven marks are text": ["####### a", "<p>####### a</p>"],
  "a list keeps its first number": ["3. a\n4. b", "<ol start=3><li><p>a</p></li><li><p>b</p></li></ol>"],
  "another bullet begins another list": ["- a\n* b", "<ul><li><p>a</p></li></ul><ul><li><p>b</p></li></ul>"],
  "a number other than 1 does not end a paragraph": ["a\n2. b", "<p>a\n2. b</p>"],
  "a blank line makes a list loose": ["- a\n\n- b", "<ul loose><li><p>a</p></li><li><p>b</p></li></ul>"],
  "a blank line behind a list does not": [
    "- a\n- b\n\nc",
    "<ul><li><p>a</p></li><li><p>b</p></li></ul><p>c</p>",
  ],
  "lists nest by indentation": [
    "- a\n  - b\n\n    c\n- d",
    "<ul><li><p>a</p><ul loose><li><p>b</p><p>c</p></li></ul></li><li><p>d</p></li></ul>",
  ],
  "tasks are ticked or not": [
    "- [x] a\n- [ ] b\n- [y] c",
    "<ul><li done><p>a</p></li><li todo><p>b</p></li><li><p>[y] c</p></li></ul>",
  ],
  "a fence ends with one as long": ["````js x\n```\n````", "<pre js>```</pre>"],
  "a fence in an item loses the indentation": [
    "- a\n  ```\n    b\n  ```",
    "<ul><li><p>a</p><pre>  b</pre></li></ul>",
  ],
  "a fence without an end is code": ["```\na", "<pre>a</pre>"],
  "blank lines stay inside indented code only": ["    a\n\n    b\n\nc", "<pre>a\n\nb</pre><p>c</p>"],
  "a quote goes on without its mark": ["> a\nb\n\nc", "<blockquote><p>a\nb</p></blockquote><p>c</p>"],
  "a table needs as many cells as columns": ["|a|b|\n|-|\n", "<p>|a|b|\n|-|</p>"],
  "cells too many go, cells too few are empty": [
    "|a|b|\n|-|:-:|\n|1|2|3|\n|4",
    "<table><tr><th>a</th><th center>b</th></tr><tr><td>1</td><td center>2</td></tr><tr><td>4</td><td center></td></tr></table>",
  ],
  "a pipe behind a backslash is text": [
    "|a|\n|-|\n|`x \\| y`|",
    "<table><tr><th>a</th></tr><tr><td><code>x | y</code></td></tr></table>",
  ],
  "a table below an item is no part of its text": [
    "- a\n|b|\n|-|",
    "<ul><li><p>a</p></li></ul><table><tr><th>b</th></tr></table>",
  ],
  "HTML is text": ["<div>\n**a**\n</div>", "<p>&lt;div>\n<strong>a</strong>\n&lt;/div></p>"],
};

test.each(Object.entries(cases))("%s", (_, [text, expected]) => {
  expect(outline(text)).toBe(expected);
});

test("markers beyond the deepest nesting are text", () => {
  expect(outline(">".repeat(1000)).split("<blockquote>").length).toBeLessThan(30);
});

test.each([
  ["a line of dashes may be a rule", "a\n\n--", "<p>a</p>"],
  ["a number may begin an item", "a\n\n1.", "<p>a</p>"],
  ["a header may become a table", "a\n\n| b |\n", "<p>a</p><p></p>"],
  ["a fence may name its language yet", "a\n\n```py", "<p>a</p>"],
  ["backticks may close the fence", "```\na\n``", "<pre>a</pre>"],
  ["a mark without text may be anything", "a\n>", "<p>a</p>"],
])("while the text grows, %s", (_, text, expected) => {
  expect(outline(text, true)).toBe(expected);
});
