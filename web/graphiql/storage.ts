/** What GraphiQL keeps between visits. */
import type { Storage } from "@graphiql/toolkit";

const HISTORY = ["graphiql:queries", "graphiql:favorites"];

/**
 * The browser's storage, but a history without headers: GraphiQL's own would keep the token in every entry,
 * whatever `shouldPersistHeaders` says. An entry that is opened again gets `defaultHeaders`.
 */
export function createStorage(defaultHeaders: string): Storage {
  return {
    getItem(key) {
      const value = localStorage.getItem(key);
      return value && HISTORY.includes(key) ? replaceHeaders(value, defaultHeaders) : value;
    },
    setItem(key, value) {
      localStorage.setItem(key, HISTORY.includes(key) ? replaceHeaders(value, "") : value);
    },
    removeItem: (key) => localStorage.removeItem(key),
    clear: () => localStorage.clear(),
    get length() {
      return localStorage.length;
    },
  };
}

function replaceHeaders(entries: string, headers: string): string {
  return JSON.stringify(JSON.parse(entries), (key, value) => (key === "headers" ? headers : value));
}
