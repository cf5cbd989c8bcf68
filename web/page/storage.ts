/** What the browser keeps for the page; null where its user has forbidden that. */
export const lasting = open(() => localStorage);
export const forThisTab = open(() => sessionStorage);

function open(storage: () => Storage): Storage | null {
  try {
    return storage();
  } catch {
    return null;
  }
}

/** Keeps a text, or forgets it (null); where the storage is full, the page goes on without. */
export function keep(storage: Storage | null, key: string, text: string | null): void {
  try {
    if (text === null) storage?.removeItem(key);
    else storage?.setItem(key, text);
  } catch {
    // It is kept in memory.
  }
}
