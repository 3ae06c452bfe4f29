/** Reads the error events of QEMU's device models, and compares them with those that tests provoke. */
import { existsSync, readFileSync } from "node:fs";

/** Trace events are printed as `name argument argument ...`, with `PID@TIME:` before them in some builds. */
const EVENT = /^(?:\d+@[\d.]+:)?((?:pci_nvme_(?:err|ub)|vtd_)\w*\b.*)$/;

/** The command id is irrelevant to the error. */
const COMMAND_ID = / cid \d+\b/;

/**
 * Errors that QEMU's device models saw, less those that a test said it would provoke.
 * @param log QEMU's trace output
 * @param provoked beginnings of events, one a line, written by provoke() in test/support/provoke.ts
 */
export function unprovokedEvents(log: string, provoked: string): string[] {
  if (!existsSync(log)) return [];
  const expected = existsSync(provoked) ? readFileSync(provoked, "utf8").split("\n").filter(Boolean) : [];
  const events = new Set<string>();
  for (const line of readFileSync(log, "utf8").split("\n")) {
    const event = EVENT.exec(line)?.[1]?.replace(COMMAND_ID, "");
    if (event === undefined) continue;
    if (!expected.some((start) => event === start || event.startsWith(`${start} `))) events.add(event);
  }
  return [...events];
}
