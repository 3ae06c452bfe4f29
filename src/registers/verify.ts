/** Checks of declarations that JavaScript programs can get wrong without a compiler. */
import { checkObject, show } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";

/** An object without keys that nobody reads. @throws ArgumentError */
export function checkKeys(what: string, value: object, known: readonly string[]): void {
  checkObject(what, value);
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined)
    throw new ArgumentError(
      `${what} has no option ${JSON.stringify(unknown)}: there are ${known.join(", ")}`,
    );
}

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
