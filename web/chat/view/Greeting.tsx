/** What a new conversation begins with; a suggestion goes into the composer, where it can be changed. */
import type { Thread } from "../data/thread";
import { useView } from "./view";

export function Greeting({ thread }: { thread: Thread }) {
  const { texts, draft } = useView();
  const suggest = (text: string) => {
    thread.draft.value = text;
    draft.current?.focus({ preventScroll: true });
  };
  return (
    <div class="greeting" part="greeting">
      <h2>{texts.greeting}</h2>
      {texts.suggestions.length > 0 && (
        <ul class="suggestions" aria-label="Suggestions">
          {texts.suggestions.map((text) => (
            <li key={text}>
              <button type="button" dir="auto" onClick={() => suggest(text)}>
                {text}
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
