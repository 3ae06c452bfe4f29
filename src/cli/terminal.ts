/** Prints the command's text, and makes text from devices safe for a terminal first. */
import { inspect } from "node:util";
import { UNSAFE, visible, visibleLines } from "../core/visible.js";
import { type Coloured, painted } from "./colour.js";

/** A string field of a device: it ends at the first NUL, as the kernel and nvme-cli read it, and blanks around it are padding. */
export function deviceText(field: string): string {
  return field.replace(/\0.*$/s, "").replace(/^ +| +$/g, "");
}

/** Writes lines to standard output, with a newline at the end. */
export function print(text: string): void {
  const lines = visibleLines(text);
  process.stdout.write(lines.endsWith("\n") ? lines : `${lines}\n`);
}

/** Clears a terminal, so that what is printed next begins at its first line. Does nothing if standard output is something else. */
export function clearTerminal(): void {
  if (process.stdout.isTTY) process.stdout.write("\x1b[H\x1b[2J");
}

/** Writes lines of parts that may have colours. */
export function printPainted(lines: readonly (readonly (string | Coloured)[])[], withColours: boolean): void {
  process.stdout.write(`${lines.map((line) => painted(line, withColours)).join("\n")}\n`);
}

/** Writes lines in place of the line that is being typed. */
export function printOverPrompt(text: string): void {
  process.stdout.write(`\r\x1b[K${visibleLines(text)}\n`);
}

/** Writes JSON text to standard output. Unsafe characters that JSON.stringify() leaves as they are become `\uNNNN`. */
export function printJsonText(json: string): void {
  const ascii = json.replace(UNSAFE, (character) => {
    if (character === "\n") return character;
    const units = Array.from({ length: character.length }, (_, at) => character.charCodeAt(at));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
  });
  process.stdout.write(`${ascii}\n`);
}

/** Writes a value as JSON, indented. */
export function printJson(value: unknown): void {
  printJsonText(JSON.stringify(value, undefined, 2));
}

/** Writes an unexpected error to standard error, with its stack and causes. */
export function printCrash(error: unknown): void {
  process.stderr.write(`${visibleLines(inspect(error))}\n`);
}

/** Writes lines to standard error, beside what standard output gets. */
export function printAside(text: string): void {
  process.stderr.write(`${visibleLines(text)}\n`);
}

/** Writes one line that begins with `iova: ` to standard error. */
export function printError(message: string): void {
  process.stderr.write(`iova: ${visible(message)}\n`);
}
