/** What the user sent and the server has not yet confirmed: it survives a change of conversation, not a reload. */
const entries = new Map();

/** The unconfirmed messages of a conversation (null: of the one that is about to begin). */
export function unsent(conversationId) {
  if (!entries.has(conversationId)) entries.set(conversationId, []);
  return entries.get(conversationId);
}

/** A key that nobody else makes; pages that are not served by HTTPS have no `randomUUID`. */
export function createKey() {
  return crypto.randomUUID?.() ?? crypto.getRandomValues(new Uint32Array(4)).join("-");
}

/** A new entry: its key makes the server store it once, however often it is sent. */
export function addUnsent(conversationId, text) {
  const entry = { key: createKey(), conversationId, text, problem: null };
  unsent(conversationId).push(entry);
  return entry;
}

export function removeUnsent(entry) {
  const list = unsent(entry.conversationId);
  if (list.includes(entry)) list.splice(list.indexOf(entry), 1);
}
