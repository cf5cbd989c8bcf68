/** Goes from one theme to the next: as the system has it, light, dark. */
import { Icon } from "../chat/view/icons";
import { chooseTheme, theme, THEMES } from "./theme";

const SHOWN = {
  auto: { label: "automatic", icon: "auto" },
  light: { label: "light", icon: "sun" },
  dark: { label: "dark", icon: "moon" },
} as const;

export function ThemeButton() {
  const { label, icon } = SHOWN[theme.value];
  const next = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length] ?? "auto";
  return (
    <button
      type="button"
      class="quiet"
      aria-label={`Theme: ${label}`}
      title={`Theme: ${label}`}
      onClick={() => chooseTheme(next)}
    >
      <Icon name={icon} />
    </button>
  );
}
