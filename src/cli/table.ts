/** Tables of text for a terminal. */
import { largestOf } from "../core/lists.js";
import { visible } from "../core/visible.js";

/**
 * Columns as wide as their longest cell.
 * @param textColumns how many columns are aligned to the left; those after them to the right
 */
export function table(
  header: readonly string[],
  values: readonly (readonly string[])[],
  textColumns = header.length,
): string {
  const rows = values.map((row) => row.map(visible));
  const widths = header.map((title, i) =>
    largestOf(
      rows.map((row) => row[i]?.length ?? 0),
      title.length,
    ),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (i < textColumns ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join("  ")
      .trimEnd();
  return [line(header), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}
