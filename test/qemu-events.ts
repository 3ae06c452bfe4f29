import { existsSync, readFileSync } from "node:fs";

/** Trace events are printed as `name argument argument ...`, with `PID@TIME:` before them in some builds. */
const EVENT = /^(?:\d+@[\d.]+:)?((?:pci_nvme_(?:err|ub)|vtd_)\w*)\b.*$/;

/**
 * Errors that QEMU's device models saw, less those that a test said it would provoke.
 * @param log QEMU's trace output
 * @param provoked event names, one a line, written by provoke() in test/support/provoke.ts
 */
export function unprovokedEvents(log: string, provoked: string): string[] {
  if (!existsSync(log)) return [];
  const expected = new Set(existsSync(provoked) ? readFileSync(provoked, "utf8").split("\n") : []);
  const events = new Set<string>();
  for (const line of readFileSync(log, "utf8").split("\n")) {
    const [whole, name] = EVENT.exec(line) ?? [];
    if (whole !== undefined && name !== undefined && !expected.has(name)) events.add(whole);
  }
  return [...events];
}
