/** What Monaco needs from a page: where its worker is, and a nonce for its style elements. */
import { readMeta } from "./meta";
import ServerWorker from "./worker?worker";

self.MonacoEnvironment = { getWorker: (_, label) => new ServerWorker({ name: label }) };

// Monaco and the dialogs make style elements; the policy of the page allows them by this nonce only.
const nonce = readMeta("nonce");
const createElement = document.createElement;
document.createElement = function (this: Document, name: string, options?: ElementCreationOptions) {
  const element = createElement.call(this, name, options);
  if (name === "style") element.nonce = nonce;
  return element;
} as typeof createElement;
