import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

import { MESSAGE, SEND, STREAM } from './operations.js';
import { Reply } from './reply.js';

/** @returns what `sendMessage` answers */
export async function send(client, text) {
  return (await client.execute(SEND, { input: { text } })).sendMessage;
}

/** Asks for so many words, so many a second; gives the id of the reply. */
export async function ask(client, count, pace) {
  return (await send(client, `Say ${count} words, ${pace} a second.`)).reply.id;
}

/** The reply after each event, going on where `reply` is. */
export async function* follow(client, messageId, reply = new Reply()) {
  const stream = client.subscribe(STREAM, { messageId, after: reply.cursor });
  for await (const { messageStream } of stream) {
    reply.take(messageStream);
    yield reply;
  }
}

/** The reply when the server has ended the stream. */
export async function last(stream) {
  let reply;
  for await (reply of stream);
  assert.ok(reply?.finished, 'the stream ended without MessageFinished');
  return reply;
}

/** The text that was put together is the one that was saved. */
export async function assertWhole(client, reply) {
  const { message } = await client.execute(MESSAGE, { id: reply.finished.id });
  assert.equal(message.status, reply.finished.status);
  assert.notEqual(message.text, '');
  assert.equal(reply.finished.text, message.text);
  assert.equal(reply.text, message.text);
}

/** Waits until something is so, for two seconds at most. */
export async function until(condition, what) {
  const deadline = Date.now() + 2000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `not so within 2 s: ${what}`);
    await sleep(10);
  }
}
