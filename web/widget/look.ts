/** How an element looks, as its attributes say. */
import type { Texts } from "../chat/view/view";

export interface Look {
  /** The name of the chat: above it, and for screen readers on the launcher. */
  readonly heading: string;
  readonly position: "start" | "end";
  /** "page": as the page has it; "auto": as the system has it. */
  readonly scheme: "page" | "auto" | "light" | "dark";
  readonly texts: Partial<Texts>;
}

export const LOOK_ATTRIBUTES = [
  "heading",
  "name",
  "greeting",
  "placeholder",
  "suggestions",
  "position",
  "theme",
] as const;

/** `suggestions`: those that were set as a property, if any. */
export function readLook(element: HTMLElement, suggestions: readonly string[] | null): Look {
  const read = (name: (typeof LOOK_ATTRIBUTES)[number]) => element.getAttribute(name)?.trim() || null;
  const heading = read("heading") ?? "Chat";
  const theme = read("theme");
  return {
    heading,
    position: read("position") === "start" ? "start" : "end",
    scheme: theme === "light" || theme === "dark" ? theme : findScheme(element),
    texts: {
      name: read("name") ?? "Assistant",
      greeting: read("greeting") ?? "How can I help?",
      placeholder: read("placeholder") ?? "Write a message",
      suggestions: suggestions ?? split(read("suggestions") ?? ""),
    },
  };
}

function split(texts: string): string[] {
  return texts
    .split("|")
    .map((text) => text.trim())
    .filter((text) => text !== "");
}

/** A page that declares its colour scheme is followed; of one that does not, nothing is known. */
function findScheme(element: HTMLElement): "page" | "auto" {
  const declared = getComputedStyle(element).colorScheme;
  return declared === "" || declared === "normal" ? "auto" : "page";
}
