import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** A way to a server that can be cut: the network between the browser and it. */
export class Network {
  readonly url: string;
  readonly #sockets = new Set<Socket>();
  readonly #close: () => void;
  #online = true;

  private constructor(url: string, close: () => void) {
    this.url = url;
    this.#close = close;
  }

  /** Listens on a free port; `target` is the URL of the server. */
  static async start(target: string): Promise<Network> {
    const { hostname, port } = new URL(target);
    const listener = createServer((near) => network.#join(near, connect({ host: hostname, port: Number(port) })));
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    const address = `http://127.0.0.1:${(listener.address() as AddressInfo).port}`;
    const network: Network = new Network(address, () => listener.close());
    return network;
  }

  /** Resets every connection there is, and says how many; new ones work. */
  cut(): number {
    const count = this.#sockets.size;
    for (const socket of this.#sockets) socket.resetAndDestroy();
    return count / 2;
  }

  /** Cuts, and lets nothing through until `goOnline`. */
  goOffline(): void {
    this.#online = false;
    this.cut();
  }

  goOnline(): void {
    this.#online = true;
  }

  /** Ends it for good. */
  close(): void {
    this.#close();
    this.cut();
  }

  #join(near: Socket, far: Socket): void {
    for (const [socket, other] of [[near, far], [far, near]] as const) {
      this.#sockets.add(socket);
      socket.pipe(other);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    if (!this.#online) near.resetAndDestroy();
  }
}
