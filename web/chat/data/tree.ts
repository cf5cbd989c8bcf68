/** A conversation is a tree of messages: where they stand in it. */

/** As much of a message as tells its place. */
export interface Placed {
  readonly id: string;
  readonly parentId: string | null;
}

/** The branch with a message behind its parent, in the place of what stood there; null without the parent. */
export function placeBehindParent<M extends Placed>(branch: readonly M[], message: M): readonly M[] | null {
  if (message.parentId === null) return [message];
  const parent = branch.findIndex(({ id }) => id === message.parentId);
  return parent < 0 ? null : [...branch.slice(0, parent + 1), message];
}
