/** The kinds of steps that change a host and can be taken back. */
import { isAbsolute, normalize } from "node:path";
import { checkArray, checkInteger, checkKeys, checkObject, checkString, show } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import type { CommandStep, FileStep } from "../checks/check.js";

/** Writes a value into a file of the kernel (`/sys`, `/proc/sys`). It lasts until the next start. */
export interface AttributeStep {
  /** Tells the kinds of {@link ChangeStep} apart. */
  readonly kind: "attribute";
  /** Absolute path; the file must exist. */
  readonly path: string;
  /** One line, without its line break. The kernel must show it afterwards, or the step has failed. */
  readonly value: string;
}

/** Changes owner and permissions of a device node. It lasts until the node is made again. */
export interface OwnerStep {
  /** Tells the kinds of {@link ChangeStep} apart. */
  readonly kind: "owner";
  /** Absolute path; the node must exist. */
  readonly path: string;
  /** User id. */
  readonly uid: number;
  /** Group id. */
  readonly gid: number;
  /** The permission bits of chmod(2). */
  readonly mode: number;
}

/** A step that changes a host. */
export type ChangeStep = CommandStep | FileStep | AttributeStep | OwnerStep;

const MAX_ID = 0xffff_fffe;
const PERMISSION_BITS = 0o7777;
const MAX_CONTENT = 1024 * 1024;

/** @throws ArgumentError */
export function checkSteps(steps: readonly ChangeStep[]): void {
  checkArray("steps", steps);
  for (const step of steps) checkStep(step);
}

function checkStep(step: ChangeStep): void {
  checkObject("step", step);
  switch (step.kind) {
    case "command":
      checkKeys("step", step, ["kind", "argv", "undo"]);
      checkArgv("argv", step.argv);
      if (step.undo !== undefined) checkArgv("undo", step.undo);
      return;
    case "file":
      checkKeys("step", step, ["kind", "path", "content"]);
      checkPath(step.path);
      if (checkString("content", step.content).length > MAX_CONTENT)
        throw new ArgumentError(
          `content of ${step.path} has ${step.content.length} characters, at most ${MAX_CONTENT} can be`,
        );
      return;
    case "attribute":
      checkKeys("step", step, ["kind", "path", "value"]);
      checkPath(step.path);
      if (!/^[\x20-\x7e]*$/.test(checkString("value", step.value)))
        throw new ArgumentError(`value must be one line of ASCII, got ${show(step.value)}`);
      return;
    case "owner":
      checkKeys("step", step, ["kind", "path", "uid", "gid", "mode"]);
      checkPath(step.path);
      checkInteger("uid", step.uid, 0, MAX_ID);
      checkInteger("gid", step.gid, 0, MAX_ID);
      checkInteger("mode", step.mode, 0, PERMISSION_BITS);
      return;
    default:
      throw new ArgumentError(
        "kind of a step must be command, file, attribute or owner: others are for a person",
      );
  }
}

function checkArgv(name: string, argv: readonly string[]): void {
  checkArray(name, argv);
  for (const word of argv) {
    if (checkString(name, word).includes("\0"))
      throw new ArgumentError(`${name} has a NUL character in ${show(word)}`);
  }
  if (argv[0] === undefined || argv[0] === "") throw new ArgumentError(`${name} must begin with a program`);
}

function checkPath(path: string): void {
  checkString("path", path);
  const isPlain = isAbsolute(path) && normalize(path) === path && !path.endsWith("/") && !path.includes("\0");
  if (!isPlain) throw new ArgumentError(`path must be absolute, without "." and "..", got ${show(path)}`);
}

/** A step in a few words, for messages. */
export function stepText(step: ChangeStep): string {
  switch (step.kind) {
    case "command":
      return step.argv.join(" ");
    case "file":
      return `write ${step.path}`;
    case "attribute":
      return `write ${step.value} to ${step.path}`;
    case "owner":
      return `give ${step.path} to ${step.uid}:${step.gid}, mode ${step.mode.toString(8).padStart(4, "0")}`;
  }
}
