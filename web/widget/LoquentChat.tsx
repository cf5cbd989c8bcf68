/** `<loquent-chat>`: a launcher and a panel with a chat, for any page. */
import { signal } from "@preact/signals";
import { render } from "preact";
import { createChatSheet, createSheet } from "../chat/style/sheets";
import { setAgain } from "./early";
import { Focus } from "./focus";
import { type Look, LOOK_ATTRIBUTES, readLook } from "./look";
import { Memory } from "./memory";
import { Session } from "./session";
import { isSheetSized } from "./sheet";
import { Widget } from "./Widget";
import css from "./widget.css?inline";

/** Gives a token; asked at the beginning, and again when one is refused. */
export type GetToken = () => string | null | Promise<string | null>;

/** What may be set on an element before its class is there. */
const PROPERTIES = ["token", "getToken", "suggestions", "conversation"] as const;

const sheets = [createChatSheet(), createSheet(css)];

export class LoquentChat extends HTMLElement {
  static readonly observedAttributes = ["endpoint", "token", "open", "conversation", ...LOOK_ATTRIBUTES];

  readonly #root = this.attachShadow({ mode: "open" });
  readonly #look = signal<Look | null>(null);
  readonly #session = signal<Session | null>(null);
  readonly #isOpen = signal(false);
  readonly #hasNews = signal(false);
  readonly #focus = new Focus(this);
  /** Null while the element is on no page. */
  #memory: Memory | null = null;
  #token: string | null = null;
  #getToken: GetToken | null = null;
  #suggestions: readonly string[] | null = null;
  #conversation: string | null | undefined;

  constructor() {
    super();
    this.#root.adoptedStyleSheets = sheets;
    // Shortcuts of the page see this element, not the field in it that somebody types into.
    for (const type of ["keydown", "keypress", "keyup"]) {
      this.#root.addEventListener(type, (event) => event.stopPropagation());
    }
  }

  /** Shows the panel and puts the focus into it. */
  open(): void {
    this.toggleAttribute("open", true);
  }

  /** Hides the panel; the focus goes back to where it was. */
  close(): void {
    this.toggleAttribute("open", false);
  }

  /** Sends a message in the open conversation, whether the panel is open or not; should it fail, the panel says so. */
  async send(text: string): Promise<void> {
    if (!this.#memory) throw new Error("<loquent-chat> is not on a page.");
    const { chat } = this.#start();
    await chat.thread.peek().send(text);
  }

  /** The bearer token; the attribute where it was not set. */
  get token(): string | null {
    return this.#token ?? this.getAttribute("token");
  }

  set token(token: string | null) {
    this.#token = token;
    this.#renewToken();
  }

  /** Where tokens come from; goes before `token`. */
  get getToken(): GetToken | null {
    return this.#getToken;
  }

  set getToken(getToken: GetToken | null) {
    this.#getToken = getToken;
    this.#renewToken();
  }

  get suggestions(): readonly string[] {
    return this.#suggestions ?? readLook(this, null).texts.suggestions ?? [];
  }

  set suggestions(suggestions: readonly string[] | null) {
    this.#suggestions = suggestions;
    this.#readLook();
  }

  /** The id of the open conversation; null: a new one. */
  get conversation(): string | null {
    const session = this.#session.peek();
    if (session) return session.chat.thread.peek().id.peek();
    return this.#conversation === undefined ? (this.#memory?.kept?.conversation ?? null) : this.#conversation;
  }

  set conversation(id: string | null) {
    const session = this.#session.peek();
    if (session) session.chat.open(id || null);
    else this.#conversation = id || null;
  }

  connectedCallback(): void {
    // Moved within the page: all goes on.
    if (this.#memory) return;
    setAgain(this, PROPERTIES);
    this.#conversation ??= this.getAttribute("conversation") ?? undefined;
    this.#memory = this.#createMemory();
    this.#readLook();
    render(
      <Widget
        look={this.#look}
        session={this.#session}
        isOpen={this.#isOpen}
        hasNews={this.#hasNews}
        focus={this.#focus}
        onOpen={() => this.open()}
        onClose={() => this.close()}
      />,
      this.#root,
    );
    // Nobody asked for it just now: the focus stays where it is.
    if (this.hasAttribute("open") || (this.#memory.wasOpen && !isSheetSized())) this.#show();
  }

  disconnectedCallback(): void {
    queueMicrotask(() => {
      if (!this.isConnected) this.#end();
    });
  }

  /** Moved by `moveBefore`: all goes on. */
  connectedMoveCallback(): void {}

  attributeChangedCallback(name: string, before: string | null, value: string | null): void {
    if (!this.#memory || before === value) return;
    if (name === "open") this.#toggle(value !== null);
    else if (name === "conversation") this.conversation = value;
    else if (name === "token") this.#renewToken();
    else if (name === "endpoint") this.#changeServer();
    else this.#readLook();
  }

  get #endpoint(): URL {
    return new URL(this.getAttribute("endpoint") ?? "/graphql", document.baseURI);
  }

  #createMemory(): Memory {
    return new Memory(`${this.#endpoint.href} ${this.id}`);
  }

  #readLook(): void {
    if (this.#memory) this.#look.value = readLook(this, this.#suggestions);
  }

  #toggle(isOpen: boolean): void {
    if (isOpen === this.#isOpen.peek()) return;
    if (isOpen) {
      this.#focus.want();
      this.#show();
    } else {
      this.#isOpen.value = false;
      this.#memory!.wasOpen = false;
      this.#tell("close");
    }
  }

  #show(): void {
    this.#readLook();
    this.#start();
    this.#isOpen.value = true;
    this.open();
    this.#hasNews.value = false;
    this.#memory!.wasOpen = true;
    this.#tell("open");
  }

  #start(): Session {
    const conversation = this.#conversation;
    this.#conversation = undefined;
    return (this.#session.value ??= new Session({
      endpoint: this.#endpoint,
      memory: this.#memory!,
      conversation,
      token: () => (this.#getToken ? this.#getToken() : this.token),
      onMessage: (message) => {
        this.#hasNews.value ||= !this.#isOpen.peek() && message.role === "ASSISTANT";
        this.#tell("message", message);
      },
      onError: (error) => this.#tell("error", error),
    }));
  }

  #stop(): void {
    this.#session.peek()?.close();
    this.#session.value = null;
  }

  #changeServer(): void {
    this.#memory = this.#createMemory();
    this.#restart();
  }

  #restart(): void {
    const wasRunning = this.#session.peek() !== null;
    this.#stop();
    if (wasRunning) this.#start();
  }

  /** Removed from the page: nothing may stay behind. */
  #end(): void {
    render(null, this.#root);
    this.#stop();
    this.#isOpen.value = false;
    this.#hasNews.value = false;
    this.#memory = null;
  }

  /** Another token: of the same user it goes on, of another one anew; without any nothing goes on. */
  #renewToken(): void {
    const session = this.#session.peek();
    if (!session) return;
    if (!this.#getToken && !this.token) this.#restart();
    // Whether it was let in, `access` tells.
    else session.chat.renewToken().catch(() => {});
  }

  #tell(name: "open" | "close" | "message" | "error", detail?: object): void {
    this.dispatchEvent(new CustomEvent(`loquent-${name}`, { detail, bubbles: true, composed: true }));
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "loquent-chat": LoquentChat;
  }
}
