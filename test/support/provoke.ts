/** Declares errors of QEMU's device models that a test causes on purpose. */
import { appendFileSync } from "node:fs";
import { join } from "node:path";

/**
 * Declares that this test makes QEMU's device models report these errors: trace events by name, with enough of their
 * arguments to tell them from others (`vtd_dmar_fault sid 0x10`). Any other error fails the run. Does nothing outside the
 * guest.
 */
export function provoke(...events: string[]): void {
  const share = process.env["IOVA_GUEST_SHARE"];
  if (share !== undefined) appendFileSync(join(share, "provoked"), `${events.join("\n")}\n`);
}
