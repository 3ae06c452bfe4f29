/** Matchers for errors. */
import { expect } from "vitest";

/** Matches a {@link SysError} of this call with this errno. `also` has further expected fields. */
export function sysError(syscall: string, code: string, also: Record<string, unknown> = {}): unknown {
  return expect.objectContaining({ name: "SysError", syscall, code, ...also });
}
