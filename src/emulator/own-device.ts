/** Makes a device of a user's own from its module. */
import { checkMembers, show } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";
import type { BlockSpec } from "../registers/declaration.js";
import type { EmulatedDevice } from "../vfio-user/server/emulated-device.js";
import type { DeviceFaults } from "./faults/device-faults.js";

/** A device of a user's own class. */
export interface OwnDevice {
  /** What to serve: it has the faults. */
  readonly device: EmulatedDevice;
  /** The class's member `faults`, if there is one. */
  readonly faults: DeviceFaults<BlockSpec> | undefined;
}

/**
 * Makes a device.
 * @param module URL of a module whose default export is the class
 * @param options the argument of the class
 * @throws ArgumentError if it has no such class, and what its module and its constructor throw
 */
export async function makeOwnDevice(module: string, options: unknown): Promise<OwnDevice> {
  const { default: found }: { readonly default?: unknown } = await import(module);
  // An arrow function has no prototype.
  if (typeof found !== "function" || found.prototype === undefined)
    throw new ArgumentError(
      `${module} must have the class of a device as its default export, got ${show(found)}`,
    );
  const own: EmulatedDevice & { readonly faults?: DeviceFaults<BlockSpec> } = Reflect.construct(found, [
    options,
  ]);
  // VfioUserServer checks the rest.
  checkMembers("device", own, "an EmulatedDevice", { close: "function" });
  const { faults } = own;
  if (faults === undefined) return { device: own, faults };
  const methods = { device: "function", inject: "function", clearFaults: "function" } as const;
  checkMembers("faults of the device", faults, "a DeviceFaults", methods);
  return { device: faults.device(own), faults };
}
