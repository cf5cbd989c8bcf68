import { Refused, dataOf } from '../refused.js';

/** No library at all: what is left of GraphQL over HTTP and SSE in plain JavaScript. */
export default {
  name: 'plain fetch with SSE',
  retries: false,
  badToken: {
    execute: { status: 401, codes: ['UNAUTHENTICATED'] },
    subscribe: { status: 401, codes: ['UNAUTHENTICATED'] },
  },

  connect({ url, token }) {
    const leaving = new AbortController();

    async function post(accept, query, variables, signal = leaving.signal) {
      const response = await fetch(url, {
        method: 'POST',
        headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', Accept: accept },
        body: JSON.stringify({ query, variables }),
        signal,
      });
      if (!response.ok) throw new Refused({ status: response.status, errors: (await response.json()).errors });
      return response;
    }

    return {
      async execute(query, variables) {
        return dataOf(await (await post('application/graphql-response+json', query, variables)).json());
      },
      async *subscribe(query, variables) {
        const unsubscribing = new AbortController();
        const signal = AbortSignal.any([leaving.signal, unsubscribing.signal]);
        try {
          const response = await post('text/event-stream', query, variables, signal);
          for await (const { event, data } of readEvents(response.body)) {
            if (event === 'complete') return;
            yield dataOf(JSON.parse(data));
          }
          throw new Error('the stream broke off');
        } finally {
          unsubscribing.abort();
        }
      },
      close: () => leaving.abort(),
    };
  },
};

/** @param {ReadableStream<Uint8Array>} body of type text/event-stream */
async function* readEvents(body) {
  let unread = '';
  for await (const piece of body.pipeThrough(new TextDecoderStream())) {
    const blocks = (unread + piece).split(/\r?\n\r?\n/);
    unread = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries([...block.matchAll(/^(\w+): ?(.*?)\r?$/gm)].map(([, ...field]) => field));
      // A comment keeps the connection alive, no more.
      if (fields.event) yield fields;
    }
  }
}
