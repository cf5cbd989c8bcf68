import { useState } from "react";

import { createKey, type Unsent } from "../outbox";

/** What has been typed and is not confirmed; `deliver` sends it, and throws if it could not. */
export function useOutbox(deliver: (entry: Unsent) => Promise<void>) {
  const [unsent, setUnsent] = useState<Unsent[]>([]);

  /** Sends, also once more: under the same key nothing is stored twice. */
  async function attempt(entry: Unsent): Promise<void> {
    const others = (list: Unsent[]) => list.filter(({ key }) => key !== entry.key);
    const put = (problem: string | null) => setUnsent((list) => [...others(list), { ...entry, problem }]);
    put(null);
    try {
      await deliver(entry);
      setUnsent(others);
    } catch (error) {
      put((error as Error).message);
    }
  }

  function send(text: string, conversationId: string | null, position: number): Promise<void> {
    return attempt({ key: createKey(), conversationId, text, position, problem: null });
  }

  return { unsent, send, retry: attempt };
}
