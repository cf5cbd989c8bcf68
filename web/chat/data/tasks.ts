/** The user's to-do list, which is also a tool of the agent. */
import {
  AddTaskDocument,
  CompleteTaskDocument,
  DeleteTaskDocument,
  TasksDocument,
  type EntryFragment,
  type TasksQuery,
} from "./generated/graphql";
import { List } from "./list";

export type Task = EntryFragment;

/** Whether a tool of this name has to do with the list. */
export function isTaskTool(tool: string): boolean {
  return /task/i.test(tool);
}

/** Oldest first. */
export class TaskList extends List<Task> {
  refresh(): Promise<void> {
    return this.read(
      this.state.peek() !== "ready",
      () => this.#readAll(),
      (items) => (this.shown.value = items),
    );
  }

  protected readAnew(): Promise<void> {
    return this.refresh();
  }

  /** Rejects with `ServerError`, as the others do. */
  async add(title: string): Promise<void> {
    const { addTask } = await this.client.request(AddTaskDocument, { input: { title: title.trim() } });
    this.version += 1;
    this.shown.value = [...this.shown.peek().filter(({ id }) => id !== addTask.task.id), addTask.task];
    this.refreshSoon();
    this.changed();
  }

  async complete(id: string, done: boolean): Promise<void> {
    const show = (items: readonly Task[]) => items.map((task) => (task.id === id ? { ...task, done } : task));
    await this.change(show, () => this.client.request(CompleteTaskDocument, { input: { id, done } }));
  }

  async remove(id: string): Promise<void> {
    const show = (items: readonly Task[]) => items.filter((task) => task.id !== id);
    await this.change(show, () => this.client.request(DeleteTaskDocument, { input: { id } }));
  }

  async #readAll(): Promise<Task[]> {
    const items: Task[] = [];
    for (let after: string | null = null; ;) {
      const { tasks }: TasksQuery = await this.client.request(TasksDocument, { after });
      items.push(...tasks.edges.map(({ node }) => node));
      after = tasks.pageInfo.endCursor;
      if (!tasks.pageInfo.hasNextPage) return items;
    }
  }
}
