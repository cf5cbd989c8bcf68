/** Which model answers in this conversation. */
import type { Thread } from "../data/thread";
import { Icon } from "./icons";
import { useAttempt, useView } from "./view";

export function ModelPicker({ thread }: { thread: Thread }) {
  const { chat } = useView();
  const attempt = useAttempt();
  const models = chat.models.value;
  const chosen = thread.model.value ?? models.find((model) => model.isDefault)?.name;
  const names = models.map((model) => model.name);
  // A conversation may have a model that is not offered any more.
  const shown = chosen && !names.includes(chosen) ? [...names, chosen] : names;
  return (
    <div class="models">
      <select
        aria-label="Model"
        value={chosen}
        onChange={(event) => {
          const { value } = event.currentTarget;
          void attempt(() => thread.setModel(value));
        }}
      >
        {shown.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
      <Icon name="unfold" />
    </div>
  );
}
