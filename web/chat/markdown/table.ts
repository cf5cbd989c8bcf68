import type { Alignment } from "./block";

const DELIMITER_ROW = /^\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*(?:\|[ \t]*)?$/;

export interface CellSource {
  text: string;
  /** A pipe stands behind it. */
  closed: boolean;
}

/** The cells of a row, in order; a pipe behind a backslash is text. */
export function splitRow(source: string): CellSource[] {
  const row = source.trim().replace(/^\|/, "");
  const cells: CellSource[] = [];
  let start = 0;
  for (let index = 0; index < row.length; index += 1) {
    if (row[index] === "\\") index += 1;
    else if (row[index] === "|") {
      cells.push(cellOf(row.slice(start, index), true));
      start = index + 1;
    }
  }
  if (start < row.length) cells.push(cellOf(row.slice(start), false));
  return cells;
}

function cellOf(source: string, closed: boolean): CellSource {
  return { text: source.trim().replaceAll("\\|", "|"), closed };
}

export function isDelimiterRow(line: string): boolean {
  return /[|:]/.test(line) && DELIMITER_ROW.test(line);
}

/** The columns that this delimiter row gives to a header; `null`: the two make no table. */
export function columnsOf(header: string, delimiters: string): Alignment[] | null {
  if (!header.includes("|")) return null;
  const columns = splitRow(delimiters).map(({ text }) => alignment(text));
  return columns.length === splitRow(header).length ? columns : null;
}

function alignment(dashes: string): Alignment {
  const left = dashes.startsWith(":");
  if (dashes.endsWith(":")) return left ? "center" : "right";
  return left ? "left" : null;
}
