import { createClient } from 'graphql-sse';

import { Refused, dataOf } from '../refused.js';

export default {
  name: 'graphql-sse',
  retries: true,
  badToken: { execute: { status: 401 }, subscribe: { status: 401 } },

  connect({ url, token, retry = false }) {
    const client = createClient({
      url,
      headers: { Authorization: `Bearer ${token}` },
      retryAttempts: retry ? 5 : 0,
      retry: async () => {},
    });

    async function* subscribe(query, variables) {
      try {
        for await (const result of client.iterate({ query, variables })) yield dataOf(result);
      } catch (error) {
        throw error instanceof Refused ? error : new Refused({ status: error.response?.status, cause: error });
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
