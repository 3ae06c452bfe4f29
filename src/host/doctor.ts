/** `doctor()`: what keeps a user from using a device on this host, and how to mend it. */
import { checkArray, checkKeys, checkString } from "../core/check.js";
import { assertLinux } from "../core/platform.js";
import { runChecks } from "./checks/all.js";
import type { CheckResult } from "./checks/check.js";
import { listVfioDevices } from "./facts/device.js";
import { readHostFacts } from "./facts/facts.js";
import { HostRoot } from "./facts/root.js";
import { type DeviceVerdict, verdictOf } from "./verdict.js";

/** Options of {@link doctor}. */
export interface DoctorOptions {
  /** Addresses (domain:bus:device.function) of the devices to check; by default all that a driver of VFIO has. */
  readonly devices?: readonly string[] | undefined;
  /** Name or number of the user to check for; by default who runs this process. */
  readonly user?: string | undefined;
  /**
   * Root folder of the files of the host: `/` by default. For files of another host, such as a mounted disk's: then nothing is
   * tried out, and who uses a device isn't known.
   */
  readonly root?: string | undefined;
}

/** What {@link doctor} found. It can be made JSON. */
export interface DoctorReport {
  /** Release of the kernel, as `uname -r` prints it. */
  readonly kernel: string;
  /** Name of the distribution. */
  readonly distribution: string;
  /** Name of the user whom the report is for. */
  readonly user: string;
  /** First those of the host, then those of each device. */
  readonly checks: readonly CheckResult[];
  /** Whether each device can be used. */
  readonly devices: readonly DeviceVerdict[];
  /** Whether every device that was asked for can be used now; if none was, whether one can. */
  readonly usable: boolean;
}

/**
 * Checks this host for what a program needs to use a device: kernel, IOMMU, modules, nodes, limits, the device itself. It only
 * reads, and opens nodes whose opening has no effect; of devices that are named, also those that are bound to a VFIO driver and that nobody
 * uses, for a moment, which resets them.
 * @throws ArgumentError: no such device or user; TimeoutError: the host's directory of users doesn't answer; UnsupportedError on another system than Linux
 */
export function doctor(options: DoctorOptions = {}): DoctorReport {
  checkKeys("options", options, ["devices", "user", "root"]);
  const { devices, user, root: path = "/" } = options;
  if (devices !== undefined) {
    checkArray("devices", devices);
    for (const each of devices) checkString("device", each);
  }
  if (user !== undefined) checkString("user", user);
  const root = new HostRoot(checkString("root", path));
  if (root.isLive) assertLinux();
  const facts = readHostFacts(root, devices ?? listVfioDevices(root), user, devices !== undefined);
  const verdicts = facts.devices.map((device) => verdictOf(facts, device));
  return {
    kernel: facts.kernel.release,
    distribution: facts.distribution.name,
    user: facts.user.name,
    checks: runChecks(facts),
    devices: verdicts,
    usable:
      devices === undefined
        ? verdicts.some(({ usable }) => usable)
        : verdicts.length > 0 && verdicts.every(({ usable }) => usable),
  };
}
