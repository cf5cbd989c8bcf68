/** What the components of one chat share. */
import { createContext, type RefObject } from "preact";
import { useContext } from "preact/hooks";
import type { Chat } from "../data/chat";
import { messageOf } from "../data/errors";
import type { Highlight } from "../markdown/markdown";
import type { StatusLine } from "./status";

/** Words that a host may choose. */
export interface Texts {
  /** Who answers. */
  name: string;
  greeting: string;
  suggestions: readonly string[];
  placeholder: string;
}

export const TEXTS: Texts = {
  name: "Loquent",
  greeting: "What shall we talk about?",
  suggestions: ["What is on my to-do list?", "Add “Water the plants” to my list", "What can you do?"],
  placeholder: "Write a message",
};

/** The surroundings of the components. */
export interface View {
  chat: Chat;
  texts: Texts;
  status: StatusLine;
  draft: RefObject<HTMLTextAreaElement | null>;
  highlight: (() => Promise<Highlight>) | undefined;
  /** Whether a thread that opens puts the focus into the composer. */
  takesFocus: boolean;
  /** Titles of tasks by their ids, those of deleted ones too: an id alone tells people nothing. */
  titles: Map<string, string>;
  /** The message whose version buttons get the focus next. */
  versionToFocus: { id: string; button: "earlier" | "later" } | null;
}

export const ViewContext = createContext<View | null>(null);

/** The view that a component is in; only components below `ChatPanel` have one. */
export function useView(): View {
  const view = useContext(ViewContext);
  if (!view) throw new Error("This component belongs into a ChatPanel.");
  return view;
}

/** Runs an action of the user; the status line says why it failed. Resolves to whether it succeeded. */
export function useAttempt(): (action: () => Promise<unknown>) => Promise<boolean> {
  const { status } = useView();
  return async (action) => {
    try {
      await action();
      return true;
    } catch (error) {
      status.sayProblem(messageOf(error));
      return false;
    }
  };
}
