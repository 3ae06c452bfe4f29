/**
 * Moves a PCI function between drivers, by driver_override and a probe. new_id would claim every device of the same
 * model. drivers_probe reports success even if nothing was bound, so each step is verified.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { checkKeys } from "../core/check.js";
import { BusyError, IovaError, SysError, UnsupportedError } from "../core/errors.js";
import type { Lease, Release } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { checkSignal } from "../core/listeners.js";
import { parseBdf } from "./address/bdf.js";
import { devicePath } from "./address/device-path.js";
import {
  doBeside,
  doNow,
  type FileStep,
  type KernelSteps,
  refusalHint,
  StepWait,
} from "./steps/kernel-steps.js";
import { lockFunction } from "./steps/lock.js";
import { BindingClaim, type Restoration } from "./steps/restoration.js";
import { driverOf, virtualFunctionsOf } from "./sysfs.js";
import { holdersOf, holdersText, vfioHolders, vfioNodes, virtualFunctionHolders } from "./usage/holders.js";
import { usersOf } from "./usage/users.js";
import { assertVfio, chosenDriver, isVfioBound, provideDriver, VFIO_PCI } from "./vfio-driver.js";

/** Offset of the header type in configuration space, and its bit for devices with several functions. */
const HEADER_TYPE = 0x0e;
const MULTIFUNCTION = 0x80;

/** A driver could not be bound or unbound. */
export class BindError extends IovaError {
  constructor(message: string, options?: ErrorOptions) {
    super("ERR_IOVA_BIND", message, options);
  }
}

/** Options of {@link unbindFromVfio}. */
export interface UnbindOptions {
  /**
   * Time limit in milliseconds of each step that the kernel or a driver may wait in; 30,000 by default. A driver that takes
   * longer to start or to stop needs more.
   */
  readonly timeoutMs?: number | undefined;
}

/** Options of {@link bindToVfio}. */
export interface BindOptions extends UnbindOptions {
  /**
   * The VFIO driver, by its name in /sys/bus/pci/drivers: vfio-pci by default, or a vendor's variant such as mlx5-vfio-pci. `"best"`
   * chooses the variant whose alias (`vfio_pci:`) in /lib/modules fits the function, and vfio-pci if none does.
   */
  readonly driver?: string | undefined;
}

/** Options of {@link unbindFromVfioAsync}. */
export interface AsyncUnbindOptions extends UnbindOptions {
  /** Gives up: the promise rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@link bindToVfioAsync}. */
export interface AsyncBindOptions extends BindOptions {
  /** Gives up: the promise rejects with its reason, and what was changed is undone unless the kernel still waits. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * A function bound to a VFIO driver. close() gives it back to its previous driver, if it is still in the machine. Of several bindings of
 * one function in a thread, the last that closes gives it back, as it was before the first.
 */
export class VfioBinding extends Resource {
  /** @internal */
  constructor(
    /** domain:bus:device.function */
    readonly bdf: string,
    /** The driver to restore; undefined if there was none. */
    readonly previousDriver: string | undefined,
    /** The VFIO driver that has it. */
    readonly driver: string,
    private readonly claim: BindingClaim,
    release: Release,
  ) {
    super({ label: `binding of ${bdf} to ${driver}`, release });
  }

  /**
   * Gives the function back to its previous driver. The time limit is that of {@link bindToVfio}.
   * @throws BusyError, with nothing done, while a process has it open: close again after that; BindError; TimeoutError
   */
  override close(): void {
    this.assertIdle();
    super.close();
  }

  /** {@link close} without blocking the thread. @throws as a rejection */
  override async closeAsync(): Promise<void> {
    this.assertIdle();
    await super.closeAsync();
  }

  /**
   * Who takes the duty over closes it, or leaves the function bound: no other binding waits for that.
   * @internal
   */
  override relinquish(): Lease {
    this.claim.leave();
    return super.relinquish();
  }

  /** Checked here as well: a lease whose release throws counts as closed, and close() could not be repeated. */
  private assertIdle(): void {
    if (!this.closed && this.claim.restores) assertNotOpen(this.bdf);
  }
}

/**
 * Binds a function to vfio-pci, or another VFIO driver. Loads the driver's kernel module if it is missing. It blocks the thread for as
 * long as the drivers take; {@link bindToVfioAsync} doesn't. It lasts until close(), or until the machine's next start;
 * `bindPersistently()` of `iova/host` binds at each start, too.
 * @throws ArgumentError (no such device), BusyError (mounted, swap, part of a volume, interface up; another program has been binding
 *   it for the time limit), UnsupportedError (no such driver in this kernel, no VFIO driver, a bridge), BindError; earlier changes
 *   are undone. TimeoutError: a step took too long. The kernel may complete it later; `driver_override` may stay at the driver
 */
export function bindToVfio(address: string, options: BindOptions = {}): VfioBinding {
  const bdf = parseBdf(address);
  checkKeys("options", options, ["timeoutMs", "driver"]);
  return doNow(binding(bdf, options));
}

/** {@link bindToVfio} without blocking the thread, which can be given up on. @throws as a rejection; the signal's reason */
export async function bindToVfioAsync(address: string, options: AsyncBindOptions = {}): Promise<VfioBinding> {
  const bdf = parseBdf(address);
  checkKeys("options", options, ["timeoutMs", "driver", "signal"]);
  checkSignal(options.signal)?.throwIfAborted();
  return await doBeside(binding(bdf, options));
}

function* binding(bdf: string, options: AsyncBindOptions): KernelSteps<VfioBinding> {
  const steps = new BindSteps(bdf, options);
  const path = devicePath(bdf);
  using _lock = yield* lockFunction(bdf, steps.wait);
  const driver = yield* chosenDriver(bdf, options.driver, steps.wait);
  const previous = driverOf(bdf);
  if (previous === driver) {
    assertVfio(bdf, driver);
    return claimedBinding(bdf, previous, driver, undefined, steps.wait.timeoutMs);
  }
  yield* provideDriver(driver, steps.wait);
  yield* assertAccepted(bdf, driver, steps);
  const users = usersOf(bdf);
  if (users.length > 0) throw new BusyError(`${bdf} is in use: ${users.join("; ")}`);
  if (isVfioBound(bdf)) assertNotOpen(bdf);

  const override = join(path, "driver_override");
  const previousOverride = yield* steps.read(override);
  const before: Restoration = {
    override: previousOverride === "(null)" ? "" : previousOverride,
    driver: previous,
  };
  let isRefused = true;
  try {
    yield* steps.write(override, driver);
    isRefused = false;
    if (previous !== undefined) yield* steps.unbind();
    yield* steps.bind(driver, false);
    assertVfio(bdf, driver);
  } catch (error) {
    // A first write that was refused has changed nothing; one that was given up may have. A function that has gone has no driver.
    const hasChanged = !(isRefused && error instanceof BindError) && !isRemoved(path);
    if (hasChanged && !steps.wait.mayBeStuck(error)) yield* restoring(bdf, driver, before, options.timeoutMs);
    throw error;
  }
  return claimedBinding(bdf, previous, driver, before, steps.wait.timeoutMs);
}

/** @param before undefined if nothing was changed */
function claimedBinding(
  bdf: string,
  previous: string | undefined,
  driver: string,
  before: Restoration | undefined,
  timeoutMs: number,
): VfioBinding {
  const claim = new BindingClaim(bdf, before);
  const release = (): KernelSteps<void> => releasing(bdf, driver, claim, timeoutMs);
  return new VfioBinding(bdf, previous, driver, claim, {
    now: () => doNow(release()),
    later: () => doBeside(release()),
  });
}

function* restoring(
  bdf: string,
  driver: string,
  before: Restoration,
  timeoutMs: number | undefined,
): KernelSteps<void> {
  const undoing = new BindSteps(bdf, { timeoutMs });
  yield* undoing.write(join(devicePath(bdf), "driver_override"), before.override);
  if (driverOf(bdf) === driver) yield* undoing.unbind();
  if (before.driver !== undefined) yield* undoing.bind(before.driver, true);
}

function* releasing(bdf: string, driver: string, claim: BindingClaim, timeoutMs: number): KernelSteps<void> {
  try {
    if (claim.restores) {
      assertNotOpen(bdf);
      using _lock = yield* lockFunction(bdf, { timeoutMs });
      // Only now: a binding that was made meanwhile takes the restoration over.
      const before = claim.end();
      if (before !== undefined) yield* restoring(bdf, driver, before, timeoutMs);
    }
  } catch (error) {
    // A removed function has no driver to restore.
    if (!isRemoved(`/sys/bus/pci/devices/${bdf}`)) throw error;
  } finally {
    claim.end();
  }
}

/**
 * Takes a function away from its VFIO driver and lets the kernel choose a driver, as at boot. It blocks the thread for as long as the
 * drivers take; {@link unbindFromVfioAsync} doesn't.
 * @returns that driver; undefined if none took it
 * @throws ArgumentError, BusyError (open in a process, or another program has been binding it for the time limit), BindError,
 *   TimeoutError: a step took too long, as for instance while a process has the function open. The kernel may complete it later;
 *   then call this again
 */
export function unbindFromVfio(address: string, options: UnbindOptions = {}): string | undefined {
  const bdf = parseBdf(address);
  checkKeys("options", options, ["timeoutMs"]);
  if (isVfioBound(bdf)) assertNotOpen(bdf);
  return unbindOpened(bdf, options);
}

/**
 * {@link unbindFromVfio} without blocking the thread, which can be given up on: call it again to complete it.
 * @throws as a rejection; the signal's reason
 */
export async function unbindFromVfioAsync(
  address: string,
  options: AsyncUnbindOptions = {},
): Promise<string | undefined> {
  const bdf = parseBdf(address);
  checkKeys("options", options, ["timeoutMs", "signal"]);
  checkSignal(options.signal)?.throwIfAborted();
  if (isVfioBound(bdf)) assertNotOpen(bdf);
  return await unbindOpenedAsync(bdf, options);
}

/** {@link unbindFromVfio} of a function that a process may have open: between the check and the unbinding, one may open it. */
export function unbindOpened(bdf: string, options: UnbindOptions): string | undefined {
  return doNow(unbinding(bdf, options));
}

/** The same for {@link unbindFromVfioAsync}. */
export async function unbindOpenedAsync(
  bdf: string,
  options: AsyncUnbindOptions,
): Promise<string | undefined> {
  return await doBeside(unbinding(bdf, options));
}

function* unbinding(bdf: string, options: AsyncUnbindOptions): KernelSteps<string | undefined> {
  const steps = new BindSteps(bdf, options);
  using _lock = yield* lockFunction(bdf, steps.wait);
  if (isVfioBound(bdf)) yield* steps.unbind();
  yield* steps.write(join(devicePath(bdf), "driver_override"), "");
  yield* steps.write(DRIVERS_PROBE, bdf);
  return driverOf(bdf);
}

/** Refuses what VFIO drivers refuse, while the function still has its driver. @throws UnsupportedError, BusyError */
function* assertAccepted(bdf: string, driver: string, steps: BindSteps): KernelSteps<void> {
  const path = devicePath(bdf);
  const refusal = headerRefusal(readFileSync(join(path, "config")));
  if (refusal !== undefined) throw new UnsupportedError(`${bdf} can't be bound to ${driver}: ${refusal}`);
  const attribute = join(path, "sriov_numvfs");
  const functions = existsSync(attribute) ? Number(yield* steps.read(attribute)) : 0;
  if (functions > 0) {
    throw new BusyError(
      `${bdf} can't be bound to ${driver}: it has ${functions} virtual functions. Remove them first (npx iova sriov ${bdf} 0)`,
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
  const driver = driverOf(bdf) ?? VFIO_PCI;
  const holders = vfioHolders(bdf);
  if (holders.length > 0) {
    throw new BusyError(`${bdf} can't be taken from ${driver}: open in ${holdersText(holders)}`);
  }
  // They go with their physical function.
  for (const [vf, some] of virtualFunctionHolders(bdf, virtualFunctionsOf(bdf))) {
    throw new BusyError(
      `${bdf} can't be taken from ${driver}: its virtual function ${vf} is open in ${holdersText(some)}`,
    );
  }
}

const DRIVERS_PROBE = "/sys/bus/pci/drivers_probe";

/** The steps of one binding or unbinding. Each of them locks the function in the kernel, and so may wait for another's. */
class BindSteps {
  readonly wait: StepWait;
  /** The kernel removes nodes before it waits for the processes that have them open. */
  private readonly nodes: ReadonlySet<string>;

  /** @throws ArgumentError */
  constructor(
    private readonly bdf: string,
    options: AsyncUnbindOptions,
  ) {
    this.wait = new StepWait(options, () => this.advice());
    this.nodes = vfioNodes(bdf);
  }

  *unbind(): KernelSteps<void> {
    const { bdf } = this;
    yield* this.write(join(devicePath(bdf), "driver/unbind"), bdf);
    const driver = driverOf(bdf);
    if (driver !== undefined) throw new BindError(`${bdf} is still bound to ${driver} after unbinding`);
  }

  /** @param isPrevious whether the driver had the function before: it takes it again if asked by name */
  *bind(driver: string, isPrevious: boolean): KernelSteps<void> {
    const { bdf } = this;
    yield* this.write(DRIVERS_PROBE, bdf);
    if (driverOf(bdf) === undefined && isPrevious) {
      yield* this.write(`/sys/bus/pci/drivers/${driver}/bind`, bdf);
    }
    const bound = driverOf(bdf);
    if (bound !== driver) {
      throw new BindError(`${bdf} should be bound to ${driver} but is bound to ${bound ?? "no driver"}`);
    }
  }

  *write(path: string, value: string): KernelSteps<void> {
    // A lone newline clears an override.
    const step = { path, text: `${value}\n`, wait: this.wait };
    yield* this.take(`writing ${JSON.stringify(value)} to ${path}`, step);
  }

  *read(path: string): KernelSteps<string> {
    return (yield* this.take(`reading ${path}`, { path, wait: this.wait })).trim();
  }

  private *take(what: string, step: FileStep): KernelSteps<string> {
    try {
      return yield step;
    } catch (cause) {
      if (!(cause instanceof SysError)) throw cause;
      const { code } = cause;
      const hint = refusalHint(code, "binding drivers");
      throw new BindError(`${what}: ${code}${hint === undefined ? "" : ` (${hint})`}`, { cause });
    }
  }

  private advice(): string {
    const nodes = existsSync(`/sys/bus/pci/devices/${this.bdf}`)
      ? new Set([...this.nodes, ...vfioNodes(this.bdf)])
      : this.nodes;
    const holders = holdersOf(nodes, true);
    if (holders.length > 0) {
      return `${this.bdf} is open in ${holdersText(holders)}: close it there, then try again`;
    }
    return "no process that has a VFIO node of it open can be seen: the kernel's log may say more";
  }
}
