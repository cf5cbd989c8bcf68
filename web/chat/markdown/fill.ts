import type { Code, Leaf, Row } from "./block";
import { splitRow } from "./table";

/** Breaks the line in code, after so many blank lines. */
export function startCodeLine(code: Code, gap: number): void {
  if (code.started) code.text += "\n".repeat(gap + 1);
  code.started = true;
}

/** Adds text to a leaf, behind what it has. */
export function append(target: Leaf | Row, text: string): void {
  if (target.type === "row") {
    target.source += text;
    fillCells(target);
  } else if (target.type !== "table") target.text += text;
}

function fillCells(row: Row): void {
  const sources = splitRow(row.source);
  for (const [index, cell] of row.cells.entries()) {
    const source = sources[index];
    cell.text = source?.text ?? "";
    cell.open = !source?.closed;
  }
}

/** Says that the row is complete. */
export function endRow(row: Row): void {
  for (const cell of row.cells) cell.open = false;
}
