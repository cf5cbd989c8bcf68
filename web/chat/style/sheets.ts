/** The style sheets of the chat, as objects that a document or a shadow root adopts. */
import markdown from "../markdown/markdown.css?inline";
import composer from "./composer.css?inline";
import controls from "./controls.css?inline";
import message from "./message.css?inline";
import parts from "./parts.css?inline";
import thread from "./thread.css?inline";
import tokens from "./tokens.css?inline";

/** One sheet of these rules; no policy forbids it, since it is no markup. */
export function createSheet(...texts: string[]): CSSStyleSheet {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(texts.join("\n"));
  return sheet;
}

/** What `ChatPanel` needs; it fits a document and a shadow root alike. */
export function createChatSheet(): CSSStyleSheet {
  return createSheet(tokens, controls, thread, composer, message, parts, markdown);
}
