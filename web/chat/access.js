/** The bearer token: from the server's page in development, else from the user, for this tab only. */
import { request, Unauthenticated } from "./api.js";
import { byId } from "./dom.js";
import { VIEWER } from "./operations.js";

const KEY = "loquent-token";

/** The token at hand, or null. */
export function knownToken() {
  return document.querySelector(`meta[name="${KEY}"]`).content || sessionStorage.getItem(KEY);
}

/** Asks the user for a token until the server accepts one; `problem` says why it asks. */
export function askForToken(problem = "") {
  sessionStorage.removeItem(KEY);
  const form = byId("access-form");
  byId("access-problem").textContent = problem;
  byId("app").hidden = true;
  byId("access").hidden = false;
  form.elements.token.focus();
  return new Promise((resolve) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      const token = form.elements.token.value.trim();
      byId("access-problem").textContent = await whyRefused(token);
      if (byId("access-problem").textContent) return;
      sessionStorage.setItem(KEY, token);
      form.reset();
      byId("access").hidden = true;
      resolve(token);
    };
  });
}

async function whyRefused(token) {
  try {
    await request(token, VIEWER);
    return "";
  } catch (error) {
    return error instanceof Unauthenticated ? "The server refused this token." : error.message;
  }
}
