/** Runs the program that `iova repl` gets from a file or a pipe, with the names of the prompt. */
import { text } from "node:stream/consumers";
import { compileFunction } from "node:vm";
import { IovaError } from "../../core/errors.js";
import { print, printCrash, printError } from "../terminal.js";
import { shown } from "./text.js";

/** `await` works in it, and `print(value)` shows a value as the prompt does. The exit status is 1 if it fails. */
export async function runStatements(
  input: NodeJS.ReadableStream,
  names: Readonly<Record<string, unknown>>,
): Promise<void> {
  const code = await text(input);
  const [command] = /^\.(?:names|exit|help)\s*$/m.exec(code) ?? [];
  if (command !== undefined) {
    process.exitCode = 1;
    printError(
      `${command.trim()} works only at the prompt of a terminal: standard input is a program, which ends by itself`,
    );
    return;
  }
  const all = { ...names, print: (value: unknown) => print(shown(value)) };
  try {
    // On a line of its own: the program may end with a comment.
    const program = compileFunction(`return (async () => {\n${code}\n})();`, Object.keys(all), {
      filename: "standard input",
      lineOffset: -1,
    });
    await program(...Object.values(all));
  } catch (error) {
    process.exitCode = 1;
    if (error instanceof IovaError || error instanceof SyntaxError)
      printError(`${error.name}: ${error.message}${placeOf(error)}`);
    else printCrash(error);
  }
}

/** Where in the program, such as " (standard input:3:1)". */
function placeOf(error: Error): string {
  const [place] = /standard input:\d+(?::\d+)?/.exec(error.stack ?? "") ?? [];
  return place === undefined ? "" : ` (${place})`;
}
