import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const repository = new URL('../..', import.meta.url);

/**
 * A Loquent with a database and a model of its own.
 * @typedef {object} Server
 * @property {string} url of its GraphQL endpoint
 * @property {{ ann: string, bob: string, expired: string }} tokens
 * @property {() => Promise<number>} countSubscriptions how many the server holds open, by its own metrics
 * @property {() => Promise<void>} stop
 */

/** @returns {Promise<Server>} once it serves; it ends with this process, however this process ends */
export async function startServer() {
  const python = spawn('.venv/bin/python', ['-m', 'tests.clients.server'], {
    cwd: repository,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(python, 'exit');
  const told = createInterface(python.stdout)[Symbol.asyncIterator]().next();
  const { value: line } = await Promise.race([told, ended.then(() => ({ value: undefined }))]);
  if (line === undefined) throw new Error('the server did not start');
  const { url, tokens } = JSON.parse(line);
  return {
    url: `${url}/graphql`,
    tokens,
    countSubscriptions: () => readGauge(`${url}/metrics`, 'loquent_open_subscriptions'),
    async stop() {
      python.stdin.end();
      await ended;
    },
  };
}

/** The sum of a gauge over all its labels. */
async function readGauge(url, name) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  const samples = [...(await response.text()).matchAll(new RegExp(`^${name}(?:{.*})? (\\S+)$`, 'gm'))];
  if (samples.length === 0) throw new Error(`${url} has no ${name}`);
  return samples.reduce((sum, [, value]) => sum + Number(value), 0);
}
