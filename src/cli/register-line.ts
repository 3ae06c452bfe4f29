/** A register on one line. */
import type { DumpedRegister } from "../registers/register.js";

/** Flags as lspci shows them: `name+` is set, `name-` isn't. */
export function registerLine({ name, value, fields }: DumpedRegister): string {
  const parts = Object.entries(fields).map(([field, is]) =>
    typeof is === "boolean" ? `${field}${is ? "+" : "-"}` : `${field}=${String(is)}`,
  );
  return [`${name}: ${value ?? "not read"}`, ...parts].join("  ");
}
