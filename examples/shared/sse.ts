import { createClient } from "graphql-sse";

import { endpoint } from "./endpoint";
import { resuming } from "./resume";
import { retryWait } from "./retry-wait";
import { fetchWithToken } from "./token";

/** In place of `socket.ts`, where something on the way lets no WebSocket through. */
export const events = resuming(
  createClient({
    url: endpoint,
    fetchFn: fetchWithToken,
    retryAttempts: Infinity,
    retry: retryWait,
  }),
);
