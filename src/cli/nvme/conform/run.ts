/** Runs the checks of `iova nvme conform` one after the other, each on a controller that works. */
import { IovaError } from "../../../core/errors.js";
import type { PciDevice } from "../../../pci/device.js";
import { ConformBench, type GivenByTester } from "./bench.js";
import type { Check, Subject } from "./check.js";
import { aborts } from "./checks/aborts.js";
import { admin } from "./checks/admin.js";
import { features } from "./checks/features.js";
import { firmware } from "./checks/firmware.js";
import { format } from "./checks/format.js";
import { identifyPages } from "./checks/identify-pages.js";
import { interrupts } from "./checks/interrupts.js";
import { io } from "./checks/io.js";
import { logPages } from "./checks/log-pages.js";
import { namespaces } from "./checks/namespaces.js";
import { queues } from "./checks/queues.js";
import { registers } from "./checks/registers.js";
import { reset } from "./checks/reset.js";
import { sanitize } from "./checks/sanitize.js";
import { NotApplicable } from "./findings.js";

/** All checks by subject. */
export const subjects: readonly Subject[] = [
  registers,
  reset,
  queues,
  admin,
  identifyPages,
  logPages,
  features,
  aborts,
  io,
  interrupts,
  format,
  sanitize,
  namespaces,
  firmware,
];

/** What became of a check. */
export interface CheckResult {
  readonly subject: string;
  readonly name: string;
  readonly section: string;
  readonly result: "pass" | "fail" | "not applicable";
  /** What was found: the reason of a failure, or a fact. */
  readonly found: string | undefined;
}

export interface ConformOptions extends GivenByTester {
  /** Limit of each command, in milliseconds. */
  readonly timeoutMs: number;
  readonly destroyData: boolean;
  /** Only checks whose subject or name has this text. */
  readonly only?: string | undefined;
}

/**
 * Runs the checks. The device is the caller's to close.
 * @param onResult is called after each check
 * @throws IovaError if the device isn't there; whatever a check finds is a result
 */
export async function conform(
  device: PciDevice,
  { timeoutMs, destroyData, only = "", ...given }: ConformOptions,
  onResult: (result: CheckResult) => void = () => {},
): Promise<CheckResult[]> {
  using bench = new ConformBench(device, timeoutMs, given);
  const results: CheckResult[] = [];
  for (const { subject, checks } of subjects) {
    for (const check of checks) {
      const { name, section, destroys } = check;
      if ((destroys && !destroyData) || !`${subject}: ${name}`.includes(only)) continue;
      const result = { subject, name, section, ...(await outcome(bench, check)) };
      results.push(result);
      onResult(result);
    }
  }
  await bench.stop().catch(() => {});
  return results;
}

/** Runs one check and cleans up after it. */
async function outcome(bench: ConformBench, { run }: Check): Promise<Pick<CheckResult, "result" | "found">> {
  let result: Pick<CheckResult, "result" | "found">;
  try {
    const found = await run(bench);
    bench.verify();
    result = { result: "pass", found };
  } catch (error) {
    if (!(error instanceof IovaError)) throw error;
    result = { result: error instanceof NotApplicable ? "not applicable" : "fail", found: error.message };
  }
  try {
    await bench.endCheck(result.result === "fail");
  } catch (error) {
    if (!(error instanceof IovaError)) throw error;
    const why = `it couldn't be stopped after this: ${error.message}`;
    result = { result: "fail", found: result.result === "fail" ? result.found : why };
  }
  return result;
}
