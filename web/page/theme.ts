/** Light, dark, or as the system has it; kept in this browser. */
import { signal } from "@preact/signals";
import { keep, lasting } from "./storage";

export const THEMES = ["auto", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "loquent-theme";

export const theme = signal<Theme>(THEMES.find((name) => name === lasting?.getItem(KEY)) ?? "auto");

/** Puts the theme on the page, which is all that `light-dark()` in the style sheets needs. */
export function applyTheme(): void {
  document.documentElement.style.colorScheme = theme.value === "auto" ? "light dark" : theme.value;
}

export function chooseTheme(name: Theme): void {
  theme.value = name;
  keep(lasting, KEY, name);
  applyTheme();
}
