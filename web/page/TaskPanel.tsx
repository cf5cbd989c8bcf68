/** The to-do list, which the agent changes too: what it does is seen here as it happens. */
import { useSignal } from "@preact/signals";
import { messageOf } from "../chat/data/errors";
import type { TaskList } from "../chat/data/tasks";
import { Icon } from "../chat/view/icons";
import { toggleTasks } from "./panes";
import { TaskItem } from "./TaskItem";

const LONGEST_TITLE = 200;

export function TaskPanel({ list }: { list: TaskList }) {
  const problem = useSignal("");
  const tasks = list.items.value;
  const done = tasks.filter((task) => task.done).length;
  const attempt = async (action: Promise<unknown>) => {
    problem.value = "";
    try {
      await action;
      return true;
    } catch (error) {
      problem.value = messageOf(error);
      return false;
    }
  };
  return (
    <>
      <div class="pane-head">
        <h2>To-do</h2>
        {tasks.length > 0 && (
          <span class="count" dir="auto">
            {done} of {tasks.length} done
          </span>
        )}
        <button type="button" class="quiet" aria-label="Close the to-do list" onClick={toggleTasks}>
          <Icon name="close" />
        </button>
      </div>
      <AddTask onAdd={(title) => attempt(list.add(title))} />
      {problem.value && (
        <p class="pane-problem" role="alert">
          {problem.value}
        </p>
      )}
      <div class="tasks">
        {tasks.length > 0 ? (
          <ul aria-label="Tasks">
            {tasks.map((task) => (
              <TaskItem
                key={task.id}
                task={task}
                onComplete={(isDone) => void attempt(list.complete(task.id, isDone))}
                onRemove={() => void attempt(list.remove(task.id))}
              />
            ))}
          </ul>
        ) : (
          <NoTasks list={list} />
        )}
      </div>
    </>
  );
}

function NoTasks({ list }: { list: TaskList }) {
  switch (list.state.value) {
    case "failed":
      return (
        <div class="list-state" role="alert">
          <p>The list could not be read.</p>
          <button type="button" class="small" onClick={() => void list.refresh()}>
            Try again
          </button>
        </div>
      );
    case "loading":
      return (
        <div class="skeleton" role="img" aria-label="Loading">
          <span />
          <span />
          <span />
        </div>
      );
    default:
      return <p class="list-state">Nothing to do. Add something here, or ask for it in the chat.</p>;
  }
}

function AddTask({ onAdd }: { onAdd(title: string): Promise<boolean> }) {
  const title = useSignal("");
  const add = async (event: SubmitEvent) => {
    event.preventDefault();
    const wanted = title.peek().trim();
    if (wanted === "") return;
    title.value = "";
    if (!(await onAdd(wanted)) && title.peek() === "") title.value = wanted;
  };
  return (
    <form class="add-task" onSubmit={(event) => void add(event)}>
      <input
        class="field"
        aria-label="New task"
        placeholder="Add a task"
        maxLength={LONGEST_TITLE}
        dir="auto"
        enterkeyhint="done"
        value={title.value}
        onInput={(event) => (title.value = event.currentTarget.value)}
      />
      <button type="submit" class="quiet" aria-label="Add the task" disabled={title.value.trim() === ""}>
        <Icon name="plus" />
      </button>
    </form>
  );
}
