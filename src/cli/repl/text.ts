/** How the prompt of `iova repl` shows values: registers decoded, numbers also in hexadecimal. */
import { inspect } from "node:util";
import { visibleLines } from "../../core/visible.js";
import type { DumpedRegister } from "../../registers/register.js";
import { registerLine } from "../register-line.js";

/** Text that is shown as it is. */
export class Text {
  constructor(readonly text: string) {}
}

/** A register of any copy of this package: a registers file may import another. */
interface Dumpable {
  dump(): DumpedRegister;
}

/** Below it a number is the same in hexadecimal. */
const SMALL = 10;
/** Blocks in blocks and arrays. */
const DEEPEST = 8;

/** A value as text that is safe for a terminal: a string may come from a device. */
export function shown(value: unknown): string {
  return visibleLines(textOf(value));
}

function textOf(value: unknown): string {
  if (value instanceof Text) return value.text;
  if (isWhole(value) && (value < 0 || value >= SMALL)) return `${inspect(value)} (${hex(value)})`;
  const registers = [...registersIn(value)];
  if (registers.length > 0) return registers.map((each) => registerLine(each.dump())).join("\n");
  return inspect(value);
}

function isWhole(value: unknown): value is number | bigint {
  return typeof value === "bigint" || Number.isSafeInteger(value);
}

function hex(value: number | bigint): string {
  return value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

/** A register, or those of a block with its nested blocks and arrays. */
function* registersIn(value: unknown, depth = 0): Generator<Dumpable> {
  if (isRegister(value)) {
    yield value;
    return;
  }
  // A value that is no block may be an endless circle.
  if (depth > DEEPEST) return;
  const members = isRegisterArray(value) ? value : isPlain(value) ? Object.values(value) : [];
  for (const member of members) yield* registersIn(member, depth + 1);
}

function isRegister(value: unknown): value is Dumpable {
  return ["dump", "decode", "until"].every((name) => hasFunction(value, name));
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

function isRegisterArray(value: unknown): value is Iterable<unknown> {
  return (
    !Array.isArray(value) &&
    !ArrayBuffer.isView(value) &&
    hasFunction(value, "at") &&
    hasFunction(value, Symbol.iterator)
  );
}

/** Whether an object has this method. */
export function hasFunction(value: unknown, name: string | symbol): boolean {
  return typeof value === "object" && value !== null && typeof Reflect.get(value, name) === "function";
}
