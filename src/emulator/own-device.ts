/** Makes a device of a user's own from its module. */
import { fileURLToPath } from "node:url";
import { checkFunction, checkMembers, show } from "../core/check.js";
import { ArgumentError, ConfigError } from "../core/errors.js";
import { loadModule } from "../core/load-module.js";
import type { BlockSpec } from "../registers/declaration.js";
import type { EmulatedDevice } from "../vfio-user/server/emulated-device.js";
import type { DeviceFaults } from "./faults/device-faults.js";

/** A device of a user's own class. */
export interface OwnDevice {
  /** What to serve: it has the faults. */
  readonly device: EmulatedDevice;
  /** The class's member `faults`, if there is one. */
  readonly faults: DeviceFaults<BlockSpec> | undefined;
  /** Calls the class's method `order`. @throws ConfigError if there is none, and what it throws */
  order(message: unknown): unknown;
}

/** What a user's class may have beside the members of a device. */
type OwnClass = EmulatedDevice & {
  readonly faults?: DeviceFaults<BlockSpec>;
  order?(message: unknown): unknown;
};

/**
 * Makes a device.
 * @param module URL of a module whose default export is the class
 * @param options the argument of the class
 * @throws ArgumentError if it has no such class, ConfigError as {@link loadModule}, and what its module and its constructor
 *   throw
 */
export async function makeOwnDevice(module: string, options: unknown): Promise<OwnDevice> {
  const { default: found }: { readonly default?: unknown } = await loadModule(module);
  // An arrow function has no prototype.
  if (typeof found !== "function" || found.prototype === undefined)
    throw new ArgumentError(
      `${fileURLToPath(module)} must have the class of a device as its default export, got ${show(found)}`,
    );
  const own: OwnClass = Reflect.construct(found, [options]);
  // VfioUserServer checks the rest.
  checkMembers("device", own, "an EmulatedDevice", { close: "function" });
  if (own.order !== undefined) checkFunction("order of the device", own.order);
  const order = (message: unknown): unknown => {
    if (own.order === undefined)
      throw new ConfigError(`${own.name} takes no message: its class has no method order(message)`);
    return own.order(message);
  };
  const { faults } = own;
  if (faults === undefined) return { device: own, faults, order };
  const methods = { device: "function", inject: "function", clearFaults: "function" } as const;
  checkMembers("faults of the device", faults, "a DeviceFaults", methods);
  return { device: faults.device(own), faults, order };
}
