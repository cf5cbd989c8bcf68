/** One task: a box to tick, its title, a button that takes it off the list. */
import type { Task } from "../chat/data/tasks";
import { Icon } from "../chat/view/icons";

export interface TaskItemProps {
  task: Task;
  onComplete(isDone: boolean): void;
  onRemove(): void;
}

export function TaskItem({ task, onComplete, onRemove }: TaskItemProps) {
  return (
    <li class={task.done ? "task done" : "task"}>
      <label>
        <input
          type="checkbox"
          checked={task.done}
          onChange={(event) => onComplete(event.currentTarget.checked)}
        />
        <span dir="auto">{task.title}</span>
      </label>
      <button
        type="button"
        class="quiet small"
        aria-label={`Remove “${task.title}”`}
        title="Remove"
        onClick={onRemove}
      >
        <Icon name="close" />
      </button>
    </li>
  );
}
