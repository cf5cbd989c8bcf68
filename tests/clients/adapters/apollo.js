import { ApolloClient, CombinedGraphQLErrors, HttpLink, InMemoryCache, ServerError, gql } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import WebSocket from 'ws';

import { iterate } from '../channel.js';
import { Refused } from '../refused.js';
import { openSocket } from './graphql-ws.js';

// Apollo looks at this global of browsers, which Node has from version 22 on.
globalThis.WebSocket ??= WebSocket;

export const apolloOverWebSocket = {
  name: '@apollo/client with GraphQLWsLink',
  retries: true,
  badToken: { execute: { close: 4403 }, subscribe: { close: 4403 } },

  connect(options) {
    const socket = openSocket(options);
    return { ...adapt(new GraphQLWsLink(socket)), close: () => socket.dispose() };
  },
};

export const apolloOverMultipart = {
  name: '@apollo/client with HttpLink (multipart)',
  retries: false,
  badToken: { execute: { codes: ['UNAUTHENTICATED'] }, subscribe: { codes: ['UNAUTHENTICATED'] } },

  connect({ url, token }) {
    return adapt(new HttpLink({ uri: url, headers: { Authorization: `Bearer ${token}` } }));
  },
};

function adapt(link) {
  const client = new ApolloClient({ link, cache: new InMemoryCache() });
  return {
    async execute(text, variables) {
      const document = gql(text);
      const isQuery = document.definitions[0].operation === 'query';
      try {
        const { data } = await (isQuery
          ? client.query({ query: document, variables, fetchPolicy: 'network-only' })
          : client.mutate({ mutation: document, variables }));
        return data;
      } catch (error) {
        throw refusalOf(error);
      }
    },
    async *subscribe(text, variables) {
      const results = iterate((sink) => {
        const subscription = client.subscribe({ query: gql(text), variables }).subscribe(sink);
        return () => subscription.unsubscribe();
      });
      for await (const { data, error } of results) {
        if (error) throw refusalOf(error);
        yield data;
      }
    },
    close: () => client.stop(),
  };
}

function refusalOf(error) {
  if (CombinedGraphQLErrors.is(error)) return new Refused({ errors: error.errors });
  const close = /^Socket closed with event (\d+)/.exec(error.message);
  const status = ServerError.is(error) ? error.statusCode : undefined;
  return new Refused({ close: close ? Number(close[1]) : undefined, status, cause: error });
}
