import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import cpp from "highlight.js/lib/languages/cpp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import go from "highlight.js/lib/languages/go";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";
import type { Highlight } from "./markdown";

const LANGUAGES = {
  bash,
  cpp,
  css,
  diff,
  go,
  java,
  javascript,
  json,
  python,
  rust,
  sql,
  typescript,
  xml,
  yaml,
};

/** A node of what the library finds, before it makes a string of it. */
interface TokenNode {
  scope?: string;
  children: (TokenNode | string)[];
}

const highlighter = hljs.newInstance();
for (const [name, language] of Object.entries(LANGUAGES)) highlighter.registerLanguage(name, language);

/** Colours code of the languages above, under any of their usual names. */
export const highlight: Highlight = (code, language) => {
  if (!highlighter.getLanguage(language)) return null;
  const { _emitter: emitter } = highlighter.highlight(code, { language, ignoreIllegals: true });
  if (!hasTree(emitter)) return null;
  const fragment = document.createDocumentFragment();
  appendTokens(fragment, emitter.rootNode);
  return fragment;
};

function hasTree(emitter: object): emitter is { rootNode: TokenNode } {
  return "rootNode" in emitter;
}

function appendTokens(parent: Node, { children }: TokenNode): void {
  for (const token of children) {
    if (typeof token === "string") {
      parent.appendChild(document.createTextNode(token));
      continue;
    }
    const span = document.createElement("span");
    if (token.scope && !token.scope.startsWith("language:")) span.className = classNames(token.scope);
    appendTokens(span, token);
    parent.appendChild(span);
  }
}

/** `title.function` gets the class of `title` and, told apart by a `_`, that of `function`. */
function classNames(scope: string): string {
  const [first, ...rest] = scope.split(".");
  return [`hljs-${first}`, ...rest.map((part, index) => part + "_".repeat(index + 1))].join(" ");
}
