/** `iova completion`: prints a shell's completion. */
import { ConfigError } from "../core/errors.js";
import { parseCommandLine } from "./command-line.js";
import { completionDescription, shells } from "./described/completion.js";
import { bashCompletion } from "./printed/completion/bash.js";
import { fishCompletion } from "./printed/completion/fish.js";
import { zshCompletion } from "./printed/completion/zsh.js";
import { print } from "./terminal.js";

const programs: Readonly<Record<(typeof shells)[number], () => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

/** @throws ConfigError */
export function runCompletion(argv: readonly string[]): void {
  const { positionals } = parseCommandLine(completionDescription, argv);
  const shell = shells.find((name) => name === positionals[0]);
  if (shell === undefined || positionals.length > 1)
    throw new ConfigError(
      `completion takes one of ${shells.join(", ")}, got ${positionals.join(" ") || "nothing"}; see iova completion --help`,
    );
  print(programs[shell]());
}
