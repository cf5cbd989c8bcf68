/**
 * Keeps the reader's place. The column is reversed, so its end is its origin: at the end it stays at the end
 * by itself, and elsewhere the browser's scroll anchoring holds the place, or, where that is missing,
 * this does.
 */
export const NEAR_END_PX = 60;

/** Follows the growth of `turns` where the browser does not; returns the function that ends it. */
export function keepPlace(scroller: HTMLElement, turns: HTMLElement): () => void {
  if (CSS.supports("overflow-anchor", "auto")) return () => undefined;
  let height = turns.offsetHeight;
  const observer = new ResizeObserver(() => {
    const grown = turns.offsetHeight - height;
    height += grown;
    if (scroller.scrollTop < -NEAR_END_PX) scroller.scrollTop -= grown;
  });
  observer.observe(turns);
  return () => observer.disconnect();
}

/** Shows the end at once, and takes the focus there, so that the keys scroll from it. */
export function goToEnd(scroller: HTMLElement): void {
  scroller.scrollTop = 0;
  scroller.focus({ preventScroll: true });
}
