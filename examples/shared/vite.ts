import { execFile } from "node:child_process";
import type { IncomingMessage, ServerResponse } from "node:http";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import type { Plugin, ProxyOptions } from "vite";

const repository = fileURLToPath(new URL("../..", import.meta.url));
const target = process.env.LOQUENT_URL ?? "http://127.0.0.1:8000";

/** What your back end does in production: `/graphql` leads to Loquent, and `/token` gives who is signed in a token. */
export function loquent(): Plugin {
  const proxy = { "/graphql": { target, ws: true, configure: endBrokenAnswers } };
  return {
    name: "loquent",
    config: () => ({ server: { proxy }, preview: { proxy } }),
    configureServer: ({ middlewares }) => void middlewares.use("/token", giveToken),
    configurePreviewServer: ({ middlewares }) => void middlewares.use("/token", giveToken),
  };
}

/** Without it the page waits for ever for the rest of an answer that broke off. */
const endBrokenAnswers: ProxyOptions["configure"] = (proxy) => {
  proxy.on("proxyRes", (answer, _, response) => answer.on("error", () => response.destroy()));
};

async function giveToken(_: IncomingMessage, response: ServerResponse): Promise<void> {
  const command = promisify(execFile);
  try {
    const { stdout } = await command(".venv/bin/loquent", ["token", "--sub", "developer", "--ttl", "15m"], {
      cwd: repository,
    });
    response.end(stdout.trim());
  } catch (error) {
    response.writeHead(500).end(`No token: is \`make run\` running? ${String(error)}`);
  }
}
