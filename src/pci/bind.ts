/**
 * Moves a PCI function between drivers, by driver_override and a probe. new_id would claim every device of the same
 * model. drivers_probe reports success even if nothing was bound, so each step is verified.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BusyError, IovaError, UnsupportedError } from "../core/errors.js";
import { Resource } from "../core/lifetime/resource.js";
import { kernelText } from "../sys/kernel-files.js";
import { parseBdf } from "./bdf.js";
import { devicePath, driverOf } from "./sysfs.js";
import { usersOf, vfioHolders } from "./usage.js";

export const VFIO_PCI = "vfio-pci";

/** Offset of the header type in configuration space, and its bit for devices with several functions. */
const HEADER_TYPE = 0x0e;
const MULTIFUNCTION = 0x80;

/** A driver could not be bound or unbound. */
export class BindError extends IovaError {
  constructor(message: string, options?: ErrorOptions) {
    super("ERR_IOVA_BIND", message, options);
  }
}

/** A function bound to vfio-pci. close() gives it back to its previous driver, if it is still in the machine. */
export class VfioBinding extends Resource {
  constructor(
    /** domain:bus:device.function */
    readonly bdf: string,
    /** The driver to restore; undefined if there was none. */
    readonly previousDriver: string | undefined,
    release: () => void,
  ) {
    super({ label: `binding of ${bdf} to ${VFIO_PCI}`, release });
  }

  /**
   * Gives the function back to its previous driver.
   * @throws BusyError, with nothing done, while a process has it open: close again after that; BindError
   */
  override close(): void {
    // Checked here as well: a lease whose release throws counts as closed, and close() could not be repeated.
    if (!this.closed && this.previousDriver !== VFIO_PCI) assertNotOpen(this.bdf);
    super.close();
  }
}

/**
 * Binds a function to vfio-pci.
 * @throws ArgumentError (no such device), BusyError (mounted, swap, part of a volume, interface up),
 *   UnsupportedError (no vfio-pci in this kernel, a bridge), BindError; earlier changes are undone
 */
export function bindToVfio(address: string): VfioBinding {
  const bdf = parseBdf(address);
  const path = devicePath(bdf);
  const previous = driverOf(bdf);
  if (previous === VFIO_PCI) return new VfioBinding(bdf, VFIO_PCI, () => {});
  if (!existsSync(`/sys/bus/pci/drivers/${VFIO_PCI}`)) {
    throw new UnsupportedError(`this kernel has no ${VFIO_PCI} driver loaded: run modprobe ${VFIO_PCI}`);
  }
  assertAccepted(bdf, path);
  const users = usersOf(bdf);
  if (users.length > 0) throw new BusyError(`${bdf} is in use: ${users.join("; ")}`);

  const override = join(path, "driver_override");
  const previousOverride = readFileSync(override, "utf8").trim();
  const restore = (): void => {
    write(override, previousOverride === "(null)" ? "" : previousOverride);
    if (driverOf(bdf) === VFIO_PCI) unbind(bdf);
    if (previous !== undefined) bind(bdf, previous);
  };
  write(override, VFIO_PCI);
  try {
    if (previous !== undefined) unbind(bdf);
    bind(bdf, VFIO_PCI);
  } catch (error) {
    restore();
    throw error;
  }
  return new VfioBinding(bdf, previous, () => {
    assertNotOpen(bdf);
    try {
      restore();
    } catch (error) {
      // A removed function has no driver to restore.
      if (!isRemoved(path)) throw error;
    }
  });
}

/**
 * Takes a function away from vfio-pci and lets the kernel choose a driver, as at boot.
 * @returns that driver; undefined if none took it
 * @throws ArgumentError, BusyError (open in a process), BindError
 */
export function unbindFromVfio(address: string): string | undefined {
  const bdf = parseBdf(address);
  const path = devicePath(bdf);
  if (driverOf(bdf) === VFIO_PCI) {
    assertNotOpen(bdf);
    unbind(bdf);
  }
  write(join(path, "driver_override"), "");
  write("/sys/bus/pci/drivers_probe", bdf);
  return driverOf(bdf);
}

/** Refuses what vfio-pci refuses, while the function still has its driver. @throws UnsupportedError, BusyError */
function assertAccepted(bdf: string, path: string): void {
  const refusal = headerRefusal(readFileSync(join(path, "config")));
  if (refusal !== undefined) throw new UnsupportedError(`${bdf} can't be bound to ${VFIO_PCI}: ${refusal}`);
  const functions = Number(kernelText(join(path, "sriov_numvfs")) ?? 0);
  if (functions > 0) {
    throw new BusyError(
      `${bdf} can't be bound to ${VFIO_PCI}: it has ${functions} virtual functions. Write 0 to its sriov_numvfs first`,
    );
  }
}

/**
 * Why vfio-pci doesn't accept a function with this configuration space: it takes only endpoints (header type 0, see
 * vfio_pci_core_register_device in the kernel's drivers/vfio/pci/vfio_pci_core.c).
 */
export function headerRefusal(config: Uint8Array): string | undefined {
  const type = (config[HEADER_TYPE] ?? 0) & ~MULTIFUNCTION;
  if (type === 0) return undefined;
  return type === 1 ? "it is a PCI bridge" : `its header type is ${type}, and only endpoints (0) can be`;
}

/** Whether the function was removed from the machine; the kernel may not have noticed yet. */
function isRemoved(path: string): boolean {
  try {
    return readFileSync(join(path, "config")).readUInt32LE() === 0xffff_ffff;
  } catch {
    return true;
  }
}

/** While a process has the device open, the kernel would block the unbinding without limit. */
function assertNotOpen(bdf: string): void {
  if (!existsSync(`/sys/bus/pci/devices/${bdf}`)) return;
  const holders = vfioHolders(bdf);
  if (holders.length > 0) {
    throw new BusyError(`${bdf} can't be taken from ${VFIO_PCI}: open in process ${holders.join(", ")}`);
  }
}

function unbind(bdf: string): void {
  write(join(devicePath(bdf), "driver/unbind"), bdf);
  const driver = driverOf(bdf);
  if (driver !== undefined) throw new BindError(`${bdf} is still bound to ${driver} after unbinding`);
}

function bind(bdf: string, driver: string): void {
  write("/sys/bus/pci/drivers_probe", bdf);
  if (driverOf(bdf) === undefined && driver !== VFIO_PCI) write(`/sys/bus/pci/drivers/${driver}/bind`, bdf);
  const bound = driverOf(bdf);
  if (bound !== driver) {
    throw new BindError(`${bdf} should be bound to ${driver} but is bound to ${bound ?? "no driver"}`);
  }
}

function write(path: string, value: string): void {
  try {
    // A lone newline clears an override.
    writeFileSync(path, `${value}\n`);
  } catch (cause) {
    const reason = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    const hint = reason === "EACCES" || reason === "EPERM" ? " (binding drivers needs root)" : "";
    throw new BindError(`writing ${JSON.stringify(value)} to ${path}: ${reason}${hint}`, { cause });
  }
}
