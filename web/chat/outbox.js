/** What the user sent and the server has not yet confirmed: it survives a change of conversation, not a reload. */
const entries = new Map();

/** The unconfirmed messages of a conversation (null: of the one that is about to begin). */
export function unsent(conversationId) {
  if (!entries.has(conversationId)) entries.set(conversationId, []);
  return entries.get(conversationId);
}

/** A new entry: its key makes the server store it once, however often it is sent. */
export function addUnsent(conversationId, text) {
  const entry = { key: crypto.randomUUID(), conversationId, text, problem: null };
  unsent(conversationId).push(entry);
  return entry;
}

export function removeUnsent(entry) {
  const list = unsent(entry.conversationId);
  if (list.includes(entry)) list.splice(list.indexOf(entry), 1);
}
