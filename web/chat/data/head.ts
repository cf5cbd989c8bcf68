/** What stands over a conversation. */
import { signal, type ReadonlySignal } from "@preact/signals";
import type { Client } from "./client";
import { UpdateConversationDocument, type HeadFragment } from "./generated/graphql";

/** Title, archive and model of a conversation, as the server last told them. */
export class Head {
  readonly #title = signal<string | null>(null);
  readonly title: ReadonlySignal<string | null> = this.#title;
  readonly #archivedAt = signal<string | null>(null);
  readonly archivedAt: ReadonlySignal<string | null> = this.#archivedAt;
  readonly #model = signal<string | null>(null);
  readonly model: ReadonlySignal<string | null> = this.#model;

  take({ title, archivedAt, model }: HeadFragment): void {
    this.#title.value = title;
    this.#archivedAt.value = archivedAt;
    this.#model.value = model;
  }

  /** Shows and tells who writes the replies; of a conversation without an id, its first message tells. */
  async choose(client: Client, id: string | null, model: string): Promise<void> {
    const before = this.#model.peek();
    this.#model.value = model;
    if (id === null) return;
    try {
      await client.request(UpdateConversationDocument, { input: { id, model } });
    } catch (error) {
      this.#model.value = before;
      throw error;
    }
  }
}
