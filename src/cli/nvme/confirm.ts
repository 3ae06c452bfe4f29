/** Asks before a command changes a device. */
import { createInterface } from "node:readline/promises";
import { ConfigError, IovaError } from "../../core/errors.js";
import { visible } from "../../core/visible.js";
import type { NvmeController } from "../../nvme/controller.js";
import { deviceText } from "../terminal.js";

/** Whether there is a terminal to ask on. */
function isTerminal(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/**
 * Called before a device is opened for a command that changes it.
 * @param yes whether --yes was given
 * @throws ConfigError without --yes and without a terminal to ask on
 */
export function assertCanConfirm(name: string, yes: boolean): void {
  if (yes || isTerminal()) return;
  throw new ConfigError(`${name} changes the device and there is no terminal to ask on: add --yes`);
}

/**
 * Asks on the terminal.
 * @param what will happen, as a sentence without its full stop
 * @throws IovaError unless the answer is yes
 */
export async function confirm(nvme: NvmeController, what: string, yes: boolean): Promise<void> {
  if (yes) return;
  const [model, serial] = [nvme.identify.mn, nvme.identify.sn].map(deviceText);
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const question = visible(`${what} (${model}, serial ${serial}, at ${nvme.bdf}). Go on? [y/N] `);
    const ended = new Promise<string>((resolve) => lines.once("close", () => resolve("")));
    const answer = await Promise.race([lines.question(question), ended]);
    if (/^y(es)?$/i.test(answer.trim())) return;
  } finally {
    lines.close();
  }
  throw new IovaError("ERR_IOVA_REFUSED", "nothing was changed");
}
