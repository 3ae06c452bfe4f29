/** Files that a program has to be told of: rules of udev, drop-ins of systemd. */
import { hasProgram } from "./changes/programs.js";
import type { ChangeStep } from "./changes/steps.js";
import { runsUdev } from "./facts/distribution.js";
import type { HostRoot } from "./facts/root.js";

const RELOAD_RULES = ["udevadm", "control", "--reload"] as const;

/** A rule of udev, which is read at once if udev runs. */
export function ruleSteps(host: HostRoot, path: string, content: string): ChangeStep[] {
  const steps = fileAndReload(host, path, content, RELOAD_RULES);
  return runsUdev(host) ? steps : steps.filter(({ kind }) => kind === "file");
}

/** A file, and the program that makes others read it, where there is that program. None if the file is so already. */
export function fileAndReload(
  host: HostRoot,
  path: string,
  content: string,
  argv: readonly [program: string, ...args: readonly string[]],
): ChangeStep[] {
  if (host.text(path) === content.trim()) return [];
  const [program] = argv;
  const reload: ChangeStep[] = hasProgram(host.path, program) ? [{ kind: "command", argv, undo: argv }] : [];
  return [{ kind: "file", path, content }, ...reload];
}
