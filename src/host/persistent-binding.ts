/**
 * Bindings to VFIO drivers that last: at each start the system gives the functions to the driver, by driverctl where it is installed,
 * else by udev.
 */
import { checkArray, checkKeys, checkString } from "../core/check.js";
import { ArgumentError, BusyError, UnsupportedError } from "../core/errors.js";
import { checkSignal } from "../core/listeners.js";
import { append } from "../core/lists.js";
import { doBeside, StepWait } from "../pci/steps/kernel-steps.js";
import { chosenDriver, vfioDriverFor } from "../pci/vfio-driver.js";
import { applySteps } from "./changes/apply.js";
import { type HostChange, listChanges } from "./changes/changes.js";
import { placesOf, type RecordOptions } from "./changes/options.js";
import { hasProgram } from "./changes/programs.js";
import { type RestoredChange, restoreChanges } from "./changes/restore.js";
import type { ChangeStep } from "./changes/steps.js";
import { command } from "./checks/fixes.js";
import { type DeviceFacts, readDevice } from "./facts/device.js";
import { HostRoot } from "./facts/root.js";
import { ruleSteps } from "./rule-steps.js";

/** Options of {@link planPersistentBinding}. */
export interface PersistentBindOptions extends RecordOptions {
  /** Addresses (domain:bus:device.function) of PCI functions. */
  readonly devices: readonly string[];
  /** The VFIO driver, as for bindToVfio(): vfio-pci by default, a vendor's variant, or `"best"`. */
  readonly driver?: string | undefined;
}

/** Options of {@link bindPersistently}. */
export interface PersistentBindingOptions extends PersistentBindOptions {
  /** Gives up between two steps: what was done is undone, and the promise rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@link endPersistentBinding}. */
export interface PersistentBindingEnd extends RecordOptions {
  /** Addresses of the functions; by default all that are bound persistently. */
  readonly devices?: readonly string[] | undefined;
}

/** What binds one function, now and at each start. */
export interface PersistentBindingPlan {
  /** domain:bus:device.function */
  readonly bdf: string;
  /** Name of the driver. */
  readonly driver: string;
  /** For `applySteps`; none if it is so already. */
  readonly steps: readonly ChangeStep[];
}

const TAG = "bind";
const GENERIC = "vfio-pci";

/**
 * Says what would bind functions to a VFIO driver, now and at each start of the machine.
 * @throws ArgumentError: no such device or driver; BusyError: one is in use; UnsupportedError: a bridge, a system without driverctl and
 *   udev, or `"best"` is a driver whose module must be loaded first
 */
export function planPersistentBinding(options: PersistentBindOptions): PersistentBindingPlan[] {
  checkKeys("options", options, ["root", "record", "devices", "driver"]);
  const { devices, driver } = options;
  checkArray("devices", devices);
  if (devices.length === 0) throw new ArgumentError("devices must not be empty");
  if (driver !== undefined) checkString("driver", driver);
  const host = new HostRoot(placesOf(options).root);
  return devices.map((address) => {
    const device = readDevice(host, checkString("device", address));
    const { bdf, isBridge, inUse } = device;
    if (isBridge) throw new UnsupportedError(`${bdf} can't be bound to a VFIO driver: it is a PCI bridge`);
    if (inUse.length > 0) throw new BusyError(`${bdf} is in use: ${inUse.join("; ")}`);
    const name = driverName(host, bdf, driver);
    return { bdf, driver: name, steps: stepsOf(host, device, name) };
  });
}

/** @throws ArgumentError, UnsupportedError */
function driverName(host: HostRoot, bdf: string, wanted: string | undefined): string {
  // What fits best is known of this host only.
  if (wanted === undefined || (wanted === "best" && !host.isLive)) return GENERIC;
  if (!host.isLive && /^\w[\w-]*$/.test(wanted)) return wanted;
  const { driver, module } = vfioDriverFor(bdf, wanted);
  if (driver === undefined)
    throw new UnsupportedError(
      `the best driver for ${bdf} is that of the kernel module ${module}, whose name is known when it is loaded: load it (modprobe ` +
        `${module}), and give the driver's name, as in /sys/module/${module.replaceAll("-", "_")}/drivers`,
    );
  return driver;
}

/** @throws UnsupportedError */
function stepsOf(host: HostRoot, device: DeviceFacts, driver: string): ChangeStep[] {
  const { bdf, driver: now, vendorId, deviceId } = device;
  const bind = ["npx", "iova", "bind", bdf, ...(driver === GENERIC ? [] : ["--driver", driver])];
  const steps: ChangeStep[] = now === driver ? [] : [command(bind, ["npx", "iova", "unbind", bdf])];
  if (hasProgram(host.path, "driverctl")) {
    steps.push({ kind: "file", path: `/etc/driverctl.d/pci-${bdf}`, content: `${driver}\n` });
    return steps.filter((step) => isNew(host, step));
  }
  if (!hasProgram(host.path, "udevadm"))
    throw new UnsupportedError(
      `there is neither driverctl nor udev to bind ${bdf} at each start: install one, or let a script that runs at each start call ` +
        `"${bind.join(" ")}", such as one in /etc/local.d`,
    );
  const name = bdf.replaceAll(":", "-");
  const script = `/etc/iova/bind-${name}.sh`;
  const ids = `ATTR{vendor}=="${hex(vendorId)}", ATTR{device}=="${hex(deviceId)}"`;
  const match = `ACTION=="add", SUBSYSTEM=="pci", KERNEL=="${bdf}", ${ids}`;
  const rule = [
    // Before the rules that load a module by the function's alias.
    `${match}, TEST!="driver", ATTR{driver_override}="${driver}"`,
    `${match}, RUN+="/bin/sh ${script}"`,
    "",
  ].join("\n");
  steps.push({ kind: "file", path: script, content: scriptOf(bdf, driver) });
  append(steps, ruleSteps(host, `/etc/udev/rules.d/70-iova-bind-${name}.rules`, rule));
  return steps.filter((step) => isNew(host, step));
}

function isNew(host: HostRoot, step: ChangeStep): boolean {
  return step.kind !== "file" || host.text(step.path) !== step.content.trim();
}

function hex(id: number): string {
  return `0x${id.toString(16).padStart(4, "0")}`;
}

/**
 * What udev runs when the function appears. At that time a driver of the initial RAM disk may have it. After a change of cards its address
 * may be that of another disk of this model, so one that is in use is left alone; with multipath its nodes are below its subsystem.
 */
function scriptOf(bdf: string, driver: string): string {
  return `# Written by iova bind --persist
device=${bdf}
driver=${driver}
PATH=/usr/sbin:/usr/bin:/sbin:/bin
at=/sys/bus/pci/devices/$device
now=$(readlink "$at/driver")
[ "\${now##*/}" != "$driver" ] || exit 0
folders=$at/
for link in /sys/class/nvme-subsystem/*/nvme*; do
  case $(readlink -f "$link") in */$device/*) folders="$folders \${link%/*}/" ;; esac
done
for node in $(find $folders -name dev); do
  read -r number <"$node"
  name=\${node%/dev}
  ! grep -q " $number " /proc/1/mountinfo || exit 1
  ! grep -q "^/dev/\${name##*/} " /proc/swaps || exit 1
done
[ -z "$(find $folders -path '*/holders/*')" ] || exit 1
modprobe "$driver"
echo "$driver" >"$at/driver_override"
[ -z "$now" ] || echo "$device" >"$at/driver/unbind"
echo "$device" >/sys/bus/pci/drivers_probe
`;
}

/**
 * Binds functions to a VFIO driver, now and at each start of the machine, which needs root. Each function is a change in the record; all
 * are made, or none. {@link endPersistentBinding} and `restoreChanges` take it back.
 * @returns the changes; none if everything was so already
 * @throws as a rejection: as planPersistentBinding(), bindToVfio() and applySteps()
 */
export async function bindPersistently(options: PersistentBindingOptions): Promise<HostChange[]> {
  checkKeys("options", options, ["root", "record", "devices", "driver", "signal"]);
  const { signal, ...rest } = options;
  checkSignal(signal);
  const { root, record } = options;
  const places = { root, record };
  const plans: PersistentBindingPlan[] = [];
  checkArray("devices", options.devices);
  for (const device of options.devices) {
    const driver = await loadedDriver(device, options);
    append(plans, planPersistentBinding({ ...rest, devices: [device], driver }));
  }
  if (plans.length === 0) throw new ArgumentError("devices must not be empty");
  const made: HostChange[] = [];
  try {
    for (const { bdf, driver, steps } of plans) {
      const purpose = `${bdf} bound to ${driver} at each start`;
      const change = await applySteps(steps, { ...places, purpose, about: [TAG, bdf], signal });
      if (change !== undefined) made.push(change);
    }
  } catch (error) {
    if (made.length > 0) await restoreChanges({ ...places, ids: made.map(({ id }) => id) });
    throw error;
  }
  return made;
}

/** The driver's name, for which a variant's module must be loaded. @throws as bindToVfio() */
async function loadedDriver(
  device: string,
  { driver, root, signal }: PersistentBindingOptions,
): Promise<string | undefined> {
  if (driver !== "best" || !new HostRoot(root).isLive) return driver;
  return await doBeside(chosenDriver(device, driver, new StepWait({ signal }, () => "")));
}

/** The persistent bindings of the record, the oldest first. @throws ArgumentError, HostChangeError */
export function listPersistentBindings(options: RecordOptions = {}): HostChange[] {
  return listChanges(options).changes.filter(({ about, state }) => about[0] === TAG && state !== "restored");
}

/**
 * Ends persistent bindings that {@link bindPersistently} made, which needs root: the functions go back to the kernel's drivers, now and at
 * each start.
 * @returns what became of each change, as of restoreChanges()
 * @throws as a rejection: ArgumentError: the record has none, or not this device; as restoreChanges()
 */
export async function endPersistentBinding(options: PersistentBindingEnd = {}): Promise<RestoredChange[]> {
  checkKeys("options", options, ["root", "record", "devices"]);
  const { root, record, devices } = options;
  if (devices !== undefined) checkArray("devices", devices);
  const all = listPersistentBindings({ root, record });
  for (const device of devices ?? []) {
    if (!all.some(({ about }) => about[1] === device))
      throw new ArgumentError(`the record has no persistent binding of ${device}: see iova restore --list`);
  }
  const wanted = all.filter(({ about }) => devices?.includes(about[1] ?? "") ?? true);
  if (wanted.length === 0) throw new ArgumentError("the record has no persistent binding");
  return await restoreChanges({ root, record, ids: wanted.map(({ id }) => id) });
}
