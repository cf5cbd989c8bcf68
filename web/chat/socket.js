/**
 * Subscriptions over one WebSocket (graphql-transport-ws). It opens with the first subscription, and after a
 * loss it connects again by itself and starts every subscription anew with the variables of that moment: a
 * subscription that keeps its cursor in them goes on where it was.
 */
const BAD_TOKEN = [4401, 4403];
const ACKNOWLEDGE_MS = 5_000;
const PING_EVERY_MS = 12_000;
const PONG_WITHIN_MS = 5_000;
const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 15_000;

export class Socket {
  #socket = null;
  #subscriptions = new Map();
  #nextId = 1;
  #failures = 0;
  #timers = {};

  /** `onConnected(isConnected)` and `onRefused()` tell the page what the connection does. */
  constructor(token, { onConnected, onRefused }) {
    this.token = token;
    this.onConnected = onConnected;
    this.onRefused = onRefused;
    addEventListener("online", () => this.#reconnectNow());
    addEventListener("offline", () => this.#drop());
    addEventListener("pageshow", () => this.#reconnectNow());
  }

  /**
   * Starts a subscription and returns the function that ends it. `variables()` is asked at every (re)start;
   * `next(data)` gets each event, `end(errors)` is called once when the server ends it, with its errors or [].
   */
  subscribe(query, variables, { next, end }) {
    const id = String(this.#nextId++);
    this.#subscriptions.set(id, { query, variables, next, end });
    if (this.#isReady()) this.#start(id);
    else if (!this.#socket && !this.#timers.reconnect) this.#connect();
    return () => {
      if (this.#subscriptions.delete(id) && this.#isReady()) this.#send({ id, type: "complete" });
    };
  }

  #connect() {
    clearTimeout(this.#timers.reconnect);
    this.#timers.reconnect = null;
    const url = new URL("graphql", document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, "graphql-transport-ws");
    this.#socket = socket;
    socket.onopen = () => this.#send({ type: "connection_init", payload: { Authorization: `Bearer ${this.token}` } });
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    socket.onclose = (event) => this.#lose(event.code);
    this.#timers.deadline = setTimeout(() => this.#drop(), ACKNOWLEDGE_MS);
  }

  #receive(message) {
    const subscription = this.#subscriptions.get(message.id);
    if (message.type === "connection_ack") this.#ready();
    else if (message.type === "ping") this.#send({ type: "pong" });
    else if (message.type === "pong") clearTimeout(this.#timers.deadline);
    else if (!subscription) return;
    else if (message.type === "next" && !message.payload.errors) subscription.next(message.payload.data);
    else {
      this.#subscriptions.delete(message.id);
      if (message.type === "next") this.#send({ id: message.id, type: "complete" });
      subscription.end(errorsOf(message));
    }
  }

  #ready() {
    clearTimeout(this.#timers.deadline);
    this.#failures = 0;
    this.#socket.isReady = true;
    for (const id of this.#subscriptions.keys()) this.#start(id);
    this.#timers.ping = setInterval(() => this.#ping(), PING_EVERY_MS);
    this.onConnected(true);
  }

  #start(id) {
    const { query, variables } = this.#subscriptions.get(id);
    this.#send({ id, type: "subscribe", payload: { query, variables: variables() } });
  }

  #ping() {
    this.#send({ type: "ping" });
    clearTimeout(this.#timers.deadline);
    this.#timers.deadline = setTimeout(() => this.#drop(), PONG_WITHIN_MS);
  }

  /** A dead network may never deliver `onclose`: let go of the socket without waiting for it. */
  #drop() {
    const socket = this.#socket;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
    this.#lose(1006);
  }

  #lose(code) {
    clearTimeout(this.#timers.deadline);
    clearInterval(this.#timers.ping);
    this.#socket = null;
    if (BAD_TOKEN.includes(code)) {
      this.#subscriptions.clear();
      this.onRefused();
      return;
    }
    if (this.#subscriptions.size === 0) return;
    this.onConnected(false);
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#failures) * (0.5 + Math.random());
    this.#failures += 1;
    this.#timers.reconnect = setTimeout(() => this.#connect(), wait);
  }

  #reconnectNow() {
    if (this.#timers.reconnect) this.#connect();
    else if (this.#isReady()) this.#ping();
  }

  #isReady() {
    return this.#socket?.isReady === true;
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }
}

function errorsOf(message) {
  if (message.type === "complete") return [];
  return message.type === "next" ? message.payload.errors : message.payload;
}
