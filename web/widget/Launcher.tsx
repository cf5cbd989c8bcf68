/** The round button in the corner; its name is that of the chat, and its role says that it opens something. */
import type { RefObject } from "preact";
import type { Look } from "./look";

export interface LauncherProps {
  look: Look;
  isHidden: boolean;
  hasNews: boolean;
  button: RefObject<HTMLButtonElement | null>;
  onClick(): void;
}

export function Launcher({ look, isHidden, hasNews, button, onClick }: LauncherProps) {
  return (
    <button
      type="button"
      class={hasNews ? "launcher news" : "launcher"}
      part="launcher"
      ref={button}
      hidden={isHidden}
      aria-haspopup="dialog"
      aria-label={hasNews ? `${look.heading}, new reply` : look.heading}
      onClick={onClick}
    >
      <svg viewBox="0 0 32 32" aria-hidden="true">
        <path
          d="M9.6 6.5h12.8a4.1 4.1 0 0 1 4.1 4.1v7.3a4.1 4.1 0 0 1-4.1 4.1h-8.6l-5 4.3a.95.95 0 0 1-1.6-.7V21a4.1 4.1 0 0 1-1.7-3.3v-7.1a4.1 4.1 0 0 1 4.1-4.1Z"
          fill="currentColor"
        />
        <path class="lines" d="M11 12h10M11 16.5h6" />
      </svg>
    </button>
  );
}
