/** Marks that turn the direction of what stands behind them, so that it reads as something else. */
const TURNS = /[\u202a-\u202e\u2066-\u2069]/g;

/** JSON for people to judge: indented, and no character in it changes how the others look. */
export function writeJson(value: unknown): string {
  return JSON.stringify(value, null, 2).replace(TURNS, (mark) => `\\u${mark.charCodeAt(0).toString(16)}`);
}
