import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/**
 * A way to a server that can be cut.
 * @param {string} target URL of the server
 * @returns {Promise<{ url: string, cut: () => number, close: () => void }>} `url` is the target through the
 *   proxy; `cut` resets every connection there is and says how many; `close` also takes no more
 */
export async function startProxy(target) {
  const { hostname, port, pathname } = new URL(target);
  const sockets = new Set();
  const listener = createServer((near) => {
    const far = connect({ host: hostname, port: Number(port) });
    for (const [socket, other] of [[near, far], [far, near]]) {
      sockets.add(socket);
      socket.pipe(other);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
  }).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const cut = () => {
    const count = sockets.size;
    for (const socket of sockets) socket.resetAndDestroy();
    return count / 2;
  };
  return {
    url: `http://127.0.0.1:${listener.address().port}${pathname}`,
    cut,
    close() {
      listener.close();
      cut();
    },
  };
}
