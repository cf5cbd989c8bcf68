import { readFileSync } from "node:fs";

const read = (name: string) => readFileSync(new URL(`corpus/${name}.md`, import.meta.url), "utf8");

/** Markdown for the model to say. */
export const corpus = {
  /** Every construct once. */
  everything: read("everything"),
  /** Right to left, without spaces, of several code units. */
  languages: read("languages"),
  /** What must not run, not be fetched and not end a block. */
  hostile: read("hostile"),
  /** As much text as one asks for, of whole documents: the forty kilobytes of a long answer. */
  long(length = 40_000): string {
    const document = `${read("everything")}\n\n${read("languages")}\n\n`;
    return document.repeat(Math.ceil(length / document.length)).slice(0, length);
  },
};
