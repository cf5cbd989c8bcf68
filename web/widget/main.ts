/** `/widget.js`: defines `<loquent-chat>`, once however often a page loads it. */
import { LoquentChat } from "./LoquentChat";

if (!customElements.get("loquent-chat")) customElements.define("loquent-chat", LoquentChat);
