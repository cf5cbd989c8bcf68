/** Where the user writes. Send and stop share one place: there is something to send, or something to stop. */
import { byId } from "./dom.js";

export class Composer {
  #draft = byId("draft");
  #state = "idle";

  /** `onSend(text)` and `onStop()`. */
  constructor({ onSend, onStop }) {
    this.onSend = onSend;
    this.onStop = onStop;
    byId("composer").onsubmit = (event) => {
      event.preventDefault();
      this.#send();
    };
    byId("stop").onclick = () => this.#stop();
    this.#draft.oninput = () => this.#refresh();
    this.#draft.onkeydown = (event) => this.#press(event);
    this.#refresh();
  }

  /** `idle`: may send. `sending`: a message is on its way. `replying`: a reply runs and may be stopped. */
  setState(state) {
    if (state === this.#state) return;
    const hadFocus = byId("composer").contains(document.activeElement);
    this.#state = state;
    this.#refresh();
    if (hadFocus && document.activeElement !== this.#draft) this.focus();
  }

  focus() {
    this.#draft.focus({ preventScroll: true });
  }

  /** Puts a text where the user can change it before it is sent. */
  write(text) {
    this.#draft.value = text;
    this.#refresh();
    this.focus();
  }

  #press(event) {
    // Enter that ends an input method's composition is not a wish to send; Safari tells so by key code 229 only.
    const composes = event.isComposing || event.keyCode === 229;
    if (event.key === "Escape" && !composes && this.#state === "replying") this.#stop();
    if (event.key !== "Enter" || event.shiftKey || composes) return;
    event.preventDefault();
    this.#send();
  }

  #send() {
    const text = this.#draft.value.trim();
    if (text === "" || this.#state !== "idle") return;
    this.#draft.value = "";
    this.#refresh();
    this.onSend(text);
  }

  #stop() {
    this.onStop();
    this.focus();
  }

  #refresh() {
    byId("stop").hidden = this.#state !== "replying";
    byId("send").hidden = this.#state === "replying";
    byId("send").disabled = this.#state !== "idle" || this.#draft.value.trim() === "";
    if (CSS.supports("field-sizing", "content")) return;
    this.#draft.style.height = "auto";
    this.#draft.style.height = `${this.#draft.scrollHeight}px`;
  }
}
