import assert from 'node:assert/strict';
import { after, test } from 'node:test';

import { serverAudits } from 'graphql-http';

import { startServer } from './server.js';

const server = await startServer();
after(() => server.stop());

const audits = serverAudits({
  url: server.url,
  fetchFn: (url, { headers, ...options } = {}) =>
    fetch(url, { ...options, headers: { ...headers, Authorization: `Bearer ${server.tokens.ann}` } }),
});

// Errors, warnings and notices alike: what the draft says the server MAY do, it does.
for (const { id, name, fn } of audits) {
  test(`${id} ${name}`, async () => {
    const { status, reason, response } = await fn();
    const answer = response && `: ${response.status} ${response.headers.get('content-type')}`;
    assert.equal(status, 'ok', `${reason}${answer}`);
  });
}
