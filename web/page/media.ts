/** The widths at which the page changes its shape, as signals. */
import { type ReadonlySignal, signal } from "@preact/signals";

/** There is room for the conversations beside the thread. */
export const hasRoomForSidebar = follow("(min-width: 768px)");

/** There is room for the to-do list as well. */
export const hasRoomForTasks = follow("(min-width: 1120px)");

function follow(query: string): ReadonlySignal<boolean> {
  const media = matchMedia(query);
  const matches = signal(media.matches);
  media.addEventListener("change", () => (matches.value = media.matches));
  return matches;
}
