import { Client, fetchExchange, subscriptionExchange } from '@urql/core';
import { toAsyncIterable } from 'wonka';

import { Refused } from '../refused.js';
import { openSocket } from './graphql-ws.js';

const UNAUTHENTICATED = { status: 401, codes: ['UNAUTHENTICATED'] };

export const urqlOverWebSocket = {
  name: '@urql/core with subscriptionExchange',
  retries: true,
  badToken: { execute: UNAUTHENTICATED, subscribe: { close: 4403 } },

  connect(options) {
    const socket = openSocket(options);
    const exchange = subscriptionExchange({
      forwardSubscription: ({ query, variables }) => ({
        subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query, variables }, sink) }),
      }),
    });
    return { ...adapt(options, { exchanges: [exchange, fetchExchange] }), close: () => socket.dispose() };
  },
};

export const urqlOverSSE = {
  name: '@urql/core with fetchSubscriptions (SSE)',
  retries: false,
  badToken: { execute: UNAUTHENTICATED, subscribe: UNAUTHENTICATED },

  connect(options) {
    return { ...adapt(options, { exchanges: [fetchExchange], fetchSubscriptions: true }), close() {} };
  },
};

function adapt({ url, token }, options) {
  const client = new Client({ url, fetchOptions: { headers: { Authorization: `Bearer ${token}` } }, ...options });
  return {
    async execute(document, variables) {
      const isQuery = document.trim().startsWith('query');
      return dataOf(await (isQuery ? client.query(document, variables) : client.mutation(document, variables)));
    },
    async *subscribe(document, variables) {
      for await (const result of toAsyncIterable(client.subscription(document, variables))) yield dataOf(result);
    },
  };
}

function dataOf({ data, error }) {
  if (!error) return data;
  const { graphQLErrors: errors, networkError, response } = error;
  throw new Refused({ errors, status: response?.status, close: networkError?.code, cause: error });
}
