/** The user's to-do list, which is also a tool of the agent. */
import { signal, type ReadonlySignal } from "@preact/signals";
import type { Client } from "./client";
import type { ListState } from "./conversations";
import { messageOf } from "./errors";
import {
  AddTaskDocument,
  CompleteTaskDocument,
  DeleteTaskDocument,
  TasksDocument,
  type EntryFragment,
  type TasksQuery,
} from "./generated/graphql";

const TOGETHER_MS = 50;

export type Task = EntryFragment;

/** Whether a tool of this name has to do with the list. */
export function isTaskTool(tool: string): boolean {
  return /task/i.test(tool);
}

export class TaskList {
  readonly #client: Client;
  readonly #changed: () => void;
  readonly #items = signal<readonly Task[]>([], { watched: () => this.#begin() });
  /** Oldest first; read when somebody first looks at it. */
  readonly items: ReadonlySignal<readonly Task[]> = this.#items;
  readonly #state = signal<ListState>("new");
  readonly state: ReadonlySignal<ListState> = this.#state;
  readonly #problem = signal<string | null>(null);
  /** Why it could not be read. */
  readonly problem: ReadonlySignal<string | null> = this.#problem;
  #reading = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `changed` is called when this list has changed something, for the other tabs. */
  constructor(client: Client, changed: () => void) {
    this.#client = client;
    this.#changed = changed;
  }

  /** Reads it again. Never rejects: the state tells. */
  async refresh(): Promise<void> {
    const reading = ++this.#reading;
    if (this.#state.peek() !== "ready") this.#state.value = "loading";
    try {
      const items = await this.#readAll();
      if (reading !== this.#reading) return;
      this.#items.value = items;
      this.#state.value = "ready";
      this.#problem.value = null;
    } catch (error) {
      if (reading !== this.#reading) return;
      this.#problem.value = messageOf(error);
      if (this.#state.peek() !== "ready") this.#state.value = "failed";
    }
  }

  /** Soon, and once for several calls; not before anybody has looked at it. */
  refreshSoon(): void {
    if (this.#state.peek() === "new") return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.refresh(), TOGETHER_MS);
  }

  /** Rejects with `ServerError`, as the others do. */
  async add(title: string): Promise<void> {
    const { addTask } = await this.#client.request(AddTaskDocument, { input: { title: title.trim() } });
    this.#reading += 1;
    this.#items.value = [...this.#items.peek().filter(({ id }) => id !== addTask.task.id), addTask.task];
    this.refreshSoon();
    this.#changed();
  }

  async complete(id: string, done: boolean): Promise<void> {
    const show = (items: readonly Task[]) => items.map((task) => (task.id === id ? { ...task, done } : task));
    await this.#change(show, () => this.#client.request(CompleteTaskDocument, { input: { id, done } }));
  }

  async remove(id: string): Promise<void> {
    const show = (items: readonly Task[]) => items.filter((task) => task.id !== id);
    await this.#change(show, () => this.#client.request(DeleteTaskDocument, { input: { id } }));
  }

  /** Forgets everything and reads it anew: another user has come. */
  reset(): void {
    this.#items.value = [];
    if (this.#state.peek() !== "new") void this.refresh();
  }

  close(): void {
    this.#reading += 1;
    clearTimeout(this.#timer);
  }

  #begin(): void {
    queueMicrotask(() => {
      if (this.#state.peek() === "new") void this.refresh();
    });
  }

  async #readAll(): Promise<Task[]> {
    const items: Task[] = [];
    for (let after: string | null = null; ;) {
      const { tasks }: TasksQuery = await this.#client.request(TasksDocument, { after });
      items.push(...tasks.edges.map(({ node }) => node));
      after = tasks.pageInfo.endCursor;
      if (!tasks.pageInfo.hasNextPage) return items;
    }
  }

  /** Shows a change at once, and takes it back where the server refuses it, unless there is a newer list. */
  async #change(
    show: (items: readonly Task[]) => readonly Task[],
    request: () => Promise<unknown>,
  ): Promise<void> {
    const before = this.#items.peek();
    const shown = show(before);
    this.#reading += 1;
    this.#items.value = shown;
    try {
      await request();
      this.#changed();
    } catch (error) {
      if (this.#items.peek() === shown) this.#items.value = before;
      throw error;
    } finally {
      this.refreshSoon();
    }
  }
}
