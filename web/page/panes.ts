/** Which of the two side panes is open. Beside the thread the to-do list stays as the user left it. */
import { computed, signal } from "@preact/signals";
import { hasRoomForTasks } from "./media";
import { keep, lasting } from "./storage";

const KEY = "loquent-tasks";

/** The conversations as a drawer. */
export const isDrawerOpen = signal(false);

/** The to-do list as a sheet. */
export const isSheetOpen = signal(false);

const isTaskPaneKept = signal(lasting?.getItem(KEY) !== "closed");

export const isTaskPaneOpen = computed(() =>
  hasRoomForTasks.value ? isTaskPaneKept.value : isSheetOpen.value,
);

export function toggleTasks(): void {
  if (!hasRoomForTasks.value) {
    isSheetOpen.value = !isSheetOpen.value;
    return;
  }
  isTaskPaneKept.value = !isTaskPaneKept.value;
  keep(lasting, KEY, isTaskPaneKept.value ? "open" : "closed");
}
