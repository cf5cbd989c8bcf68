import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

import { Refused, dataOf } from '../refused.js';

/** The socket that all adapters over WebSocket have: no retries unless asked for, and then at once. */
export function openSocket({ url, token, retry = false }) {
  return createClient({
    url: url.replace('http', 'ws'),
    webSocketImpl: WebSocket,
    connectionParams: { Authorization: `Bearer ${token}` },
    retryAttempts: retry ? 5 : 0,
    retryWait: async () => {},
  });
}

/** GraphQL errors come as an array, the end of a socket as its close event. */
export function refusalOf(error) {
  return Array.isArray(error) ? new Refused({ errors: error }) : new Refused({ close: error?.code, cause: error });
}

export default {
  name: 'graphql-ws',
  retries: true,
  badToken: { execute: { close: 4403 }, subscribe: { close: 4403 } },

  connect(options) {
    const client = openSocket(options);

    async function* subscribe(query, variables) {
      try {
        for await (const result of client.iterate({ query, variables })) yield dataOf(result);
      } catch (error) {
        throw error instanceof Refused ? error : refusalOf(error);
      }
    }

    return {
      subscribe,
      async execute(query, variables) {
        for await (const data of subscribe(query, variables)) return data;
      },
      close: () => client.dispose(),
    };
  },
};
