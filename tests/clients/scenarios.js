import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';

import { ask, assertWhole, follow, last, send, until } from './chat.js';
import { MESSAGE, STOP, VIEWER } from './operations.js';
import { startProxy } from './proxy.js';
import { Reply } from './reply.js';

/**
 * A client library, as the scenarios use it.
 * @typedef {object} Adapter
 * @property {string} name
 * @property {boolean} retries whether it connects anew by itself
 * @property {{ execute: object, subscribe: object }} badToken what it shows of a refused token
 * @property {(options: { url: string, token: string, retry?: boolean }) => Client} connect
 */

/**
 * @typedef {object} Client
 * @property {(document: string, variables?: object) => Promise<object>} execute the data of a query or a mutation
 * @property {(document: string, variables?: object) => AsyncGenerator<object>} subscribe the data of each event
 * @property {() => void} close
 */

/**
 * What every client must be able to do.
 * @param {Adapter} adapter
 * @param {import('./server.js').Server} server
 */
export function runScenarios(adapter, server) {
  const closing = [];
  const opened = (resource) => {
    closing.push(() => resource.close());
    return resource;
  };
  const connect = (options) => opened(adapter.connect({ url: server.url, token: server.tokens.ann, ...options }));
  const subscriptions = (count) =>
    until(async () => (await server.countSubscriptions()) === count, `${count} subscriptions are open`);
  let ann;

  beforeEach(() => {
    ann = connect();
  });
  afterEach(async () => {
    await Promise.all(closing.splice(0).map((close) => close()));
  });

  test('a query', async () => {
    assert.equal((await ann.execute(VIEWER)).viewer.id, 'ann');
  });

  test('a mutation', async () => {
    const { message, reply } = await send(ann, 'Say 3 words, 100 a second.');
    assert.deepEqual([message.role, message.status, message.text], ['USER', 'COMPLETE', 'Say 3 words, 100 a second.']);
    assert.equal(reply.role, 'ASSISTANT');
    assert.ok(['QUEUED', 'STREAMING'].includes(reply.status), reply.status);
  });

  test('a stream to its end', async () => {
    const reply = await last(follow(ann, await ask(ann, 60, 200)));
    await assertWhole(ann, reply);
    assert.equal(reply.repeated, 0);
  });

  test('three streams at once', async () => {
    const ids = await Promise.all([1, 2, 3].map(() => ask(ann, 60, 100)));
    const streams = ids.map((id) => follow(ann, id));
    const begun = await Promise.all(streams.map((stream) => stream.next()));
    assert.deepEqual(begun.map(({ value: reply }) => reply.finished), [null, null, null]);
    for (const reply of await Promise.all(streams.map(last))) await assertWhole(ann, reply);
  });

  test('unsubscribing in the middle, while another stream goes on', async () => {
    await subscriptions(0);
    const [left, kept] = await Promise.all([ask(ann, 1000, 100), ask(ann, 1000, 100)]);
    const leaving = follow(ann, left);
    const staying = follow(ann, kept);
    await Promise.all([leaving.next(), staying.next()]);
    await subscriptions(2);
    await leaving.return();
    await subscriptions(1);
    assert.equal((await ann.execute(MESSAGE, { id: left })).message.status, 'STREAMING');

    await Promise.all([left, kept].map((messageId) => ann.execute(STOP, { input: { messageId } })));
    const stopped = await last(staying);
    assert.equal(stopped.finished.status, 'STOPPED');
    await assertWhole(ann, stopped);
    await subscriptions(0);
  });

  test('a connection that is cut, and going on after the cursor', async () => {
    const proxy = opened(await startProxy(server.url));
    const id = await ask(ann, 150, 100);
    const reply = new Reply();
    for (let round = 0; round < 3; round++) {
      const known = reply.text.length;
      let cut = 0;
      const reading = async () => {
        for await (const { text } of follow(connect({ url: proxy.url }), id, reply)) {
          if (text.length > known && cut === 0) cut = proxy.cut();
        }
      };
      await assert.rejects(reading, (error) => !(error instanceof assert.AssertionError));
      assert.ok(cut > 0, 'the stream ended before it was cut');
    }
    await last(follow(connect({ url: proxy.url }), id, reply));
    await assertWhole(ann, reply);
    assert.equal(reply.repeated, 0);
    await subscriptions(0);
  });

  if (adapter.retries) {
    test('a connection that is cut, and a client that comes back by itself', async () => {
      const proxy = opened(await startProxy(server.url));
      const id = await ask(ann, 150, 100);
      let cuts = 0;
      const reply = new Reply();
      for await (const { text } of follow(connect({ url: proxy.url, retry: true }), id, reply)) {
        if (cuts < 2 && text.length > 100 * (cuts + 1) && proxy.cut() > 0) cuts += 1;
      }
      assert.equal(cuts, 2);
      await assertWhole(ann, reply);
    });
  }

  test('an expired token', async () => {
    const stranger = connect({ token: server.tokens.expired });
    await assert.rejects(stranger.execute(VIEWER), adapter.badToken.execute);
    const id = await ask(ann, 1, 100);
    await assert.rejects(last(follow(stranger, id)), adapter.badToken.subscribe);
    await subscriptions(0);
  });

  test("another user's stream", async () => {
    const bob = connect({ token: server.tokens.bob });
    const id = await ask(ann, 3, 100);
    await assert.rejects(last(follow(bob, id)), { codes: ['FORBIDDEN'] });
    assert.equal((await bob.execute(VIEWER)).viewer.id, 'bob', 'the refusal left the client usable');
  });
}
