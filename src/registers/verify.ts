/** Checks of declarations that JavaScript programs can get wrong without a compiler. */
import { show } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";

/** One of these texts. @throws ArgumentError */
export function checkOneOf(what: string, value: unknown, choices: readonly string[]): void {
  if (typeof value !== "string" || !choices.includes(value))
    throw new ArgumentError(`${what} must be ${choices.join(", ")}, got ${show(value)}`);
}

/** Something that one of the declaring functions has made. @throws ArgumentError */
export function checkDeclared(what: string, value: unknown, kinds: readonly string[], by: string): void {
  const kind: unknown = typeof value === "object" && value !== null ? Reflect.get(value, "kind") : undefined;
  if (typeof kind !== "string" || !kinds.includes(kind))
    throw new ArgumentError(`${what} must be made by ${by}, got ${show(value)}`);
}
