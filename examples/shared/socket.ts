import { createClient, TerminatedCloseEvent } from "graphql-ws";

import { endpoint } from "./endpoint";
import { resuming } from "./resume";
import { retryWait } from "./retry-wait";
import { dropToken, getToken } from "./token";

const TOKEN_REFUSED = 4403;

let pongDeadline: ReturnType<typeof setTimeout>;

const client = createClient({
  url: endpoint.replace(/^http/, "ws"),
  // Without a token the server closes with 4403, and there is another attempt.
  connectionParams: async () => ({ Authorization: `Bearer ${await getToken().catch(() => "")}` }),
  retryAttempts: Infinity,
  // By default a server that cannot be reached ends every subscription: its error event has no code.
  shouldRetry: (problem) => problem instanceof Event || problem instanceof TerminatedCloseEvent,
  retryWait,
  connectionAckWaitTimeout: 5_000,
  keepAlive: 12_000,
  on: {
    ping: (received) => {
      // A network that is gone does not say so: a missing pong does.
      if (!received) pongDeadline = setTimeout(() => client.terminate(), 5_000);
    },
    pong: (received) => {
      if (received) clearTimeout(pongDeadline);
    },
    closed: (event) => {
      clearTimeout(pongDeadline);
      if ((event as CloseEvent).code === TOKEN_REFUSED) dropToken();
    },
  },
});

/** Goes on behind the last `cursor` of each subscription after a lost connection. */
export const socket = resuming(client);
