import { expect } from "vitest";

/** Matches a {@link SysError} of this call with this errno; `also` may ask for more of its fields. */
export function sysError(syscall: string, code: string, also: Record<string, unknown> = {}): unknown {
  return expect.objectContaining({ name: "SysError", syscall, code, ...also });
}
