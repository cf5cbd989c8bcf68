/** What the scripted model says next, as `server.script(say("Hello."), call("tasks", {}), refuse(529))`. */

export interface Pace {
  /** Tokens a second; 0 is as fast as possible, 500 if nothing is said. */
  pace?: number;
  /** Seconds before the first token. */
  delay?: number;
  /** UTF-16 code units per token, or a function that gives the length of each; four if nothing is said. */
  pieces?: number | (() => number);
  /** What goes wrong after so many tokens. */
  fault?: { after_tokens: number; kind: Fault };
}

export type Fault =
  | "cut"
  | "malformed_json"
  | "unknown_event"
  | "overloaded"
  | "api_error"
  | "stall"
  | "no_stop";

type Block =
  | { text: string; tokens: string[] }
  | { thinking: string }
  | { tool: string; parameters: Record<string, unknown> };

export type Answer =
  | (Omit<Pace, "pieces"> & { blocks: Block[]; stop_reason?: string })
  | { refusal: { status: number; type: string; message: string; retry_after?: number } };

/** A text, streamed. */
export function say(text: string, options: Pace = {}): Answer {
  const { pieces, ...pace } = options;
  return { blocks: [{ text, tokens: cut(text, pieces ?? 4) }], ...pace };
}

/** Texts, each a part of its own. */
export function sayEach(texts: readonly string[], options: Pace = {}): Answer {
  const { pieces, ...pace } = options;
  return { blocks: texts.map((text) => ({ text, tokens: cut(text, pieces ?? 4) })), ...pace };
}

/** A thought, then a text. */
export function think(thought: string, text: string, options: Pace = {}): Answer {
  const { pieces, ...pace } = options;
  return { blocks: [{ thinking: thought }, { text, tokens: cut(text, pieces ?? 4) }], ...pace };
}

/** A call of a tool, with a text before it if there is one. `deleteTask` waits for approval. */
export function call(tool: string, parameters: Record<string, unknown>, text = "", pace: Pace = {}): Answer {
  const { pieces, ...rest } = pace;
  const words: Block[] = text ? [{ text, tokens: cut(text, pieces ?? 4) }] : [];
  return { blocks: [...words, { tool, parameters }], ...rest };
}

/** An HTTP error in place of an answer; the server tries some of them again. */
export function refuse(status: number, type = "api_error", message = "Not now"): Answer {
  return { refusal: { status, type, message } };
}

/** Piece lengths from 1 to `longest` that are the same for the same seed. */
export function randomPieces(longest: number, seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return 1 + Math.floor((state / 2 ** 32) * longest);
  };
}

function cut(text: string, pieces: number | (() => number)): string[] {
  const tokens: string[] = [];
  for (let start = 0; start < text.length; ) {
    const length = typeof pieces === "number" ? pieces : pieces();
    tokens.push(text.slice(start, start + length));
    start += length;
  }
  return tokens;
}
