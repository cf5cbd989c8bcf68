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
