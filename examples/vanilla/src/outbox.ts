import { SendDocument, type SendMutation } from "../../generated/strings/graphql";
import { createKey, inputOf, type Unsent } from "../../shared/outbox";
import { ask } from "./client";

type Sent = SendMutation["sendMessage"];

/** What has been typed and is not confirmed; it stays until the server has it. */
export class Outbox {
  unsent: Unsent[] = [];

  constructor(
    readonly onChange: () => void,
    readonly onSent: (entry: Unsent, sent: Sent) => void,
  ) {}

  send(text: string, conversationId: string | null, position: number): Promise<void> {
    const entry: Unsent = { key: createKey(), conversationId, text, position, problem: null };
    this.unsent.push(entry);
    return this.attempt(entry);
  }

  /** Sends, also once more: under the same key nothing is stored twice. */
  async attempt(entry: Unsent): Promise<void> {
    entry.problem = null;
    this.onChange();
    try {
      const { sendMessage } = await ask(SendDocument, { input: inputOf(entry) });
      this.unsent.splice(this.unsent.indexOf(entry), 1);
      this.onSent(entry, sendMessage);
    } catch (error) {
      entry.problem = (error as Error).message;
    }
    this.onChange();
  }
}
