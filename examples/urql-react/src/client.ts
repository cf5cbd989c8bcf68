import { Client, fetchExchange, subscriptionExchange } from "urql";

import { endpoint } from "../../shared/endpoint";
import { socket } from "../../shared/socket";
import { fetchWithToken } from "../../shared/token";
import { cache } from "./cache";

export const client = new Client({
  url: endpoint,
  fetch: fetchWithToken,
  preferGetMethod: false,
  exchanges: [
    cache,
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: ({ query = "", variables }) => ({
        subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query, variables }, sink) }),
      }),
    }),
  ],
});
