import { after, describe } from 'node:test';

import { apolloOverMultipart, apolloOverWebSocket } from './adapters/apollo.js';
import plainFetch from './adapters/fetch.js';
import graphqlSSE from './adapters/graphql-sse.js';
import graphqlWS from './adapters/graphql-ws.js';
import { urqlOverSSE, urqlOverWebSocket } from './adapters/urql.js';
import { runScenarios } from './scenarios.js';
import { startServer } from './server.js';

const adapters = [
  graphqlWS,
  graphqlSSE,
  apolloOverWebSocket,
  apolloOverMultipart,
  urqlOverWebSocket,
  urqlOverSSE,
  plainFetch,
];

const server = await startServer();
after(() => server.stop());

for (const adapter of adapters) {
  describe(adapter.name, { timeout: 30_000 }, () => runScenarios(adapter, server));
}
