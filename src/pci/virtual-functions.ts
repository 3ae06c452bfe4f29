/**
 * SR-IOV: creates and removes virtual functions by `sriov_numvfs` of the physical function, whose driver carries it out. The
 * kernel waits without a limit for who has a virtual function open, so users are looked for first.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { checkInteger, checkKeys, show } from "../core/check.js";
import { ArgumentError, BusyError, SysError, UnsupportedError } from "../core/errors.js";
import { Resource } from "../core/lifetime/resource.js";
import { kernelText } from "../sys/kernel-files.js";
import { writeWithin, writeWithinAsync } from "../sys/kernel-wait.js";
import { parseBdf } from "./address/bdf.js";
import { BindError, bindToVfioAsync } from "./bind.js";
import { refusalHint, StepWait } from "./steps/kernel-steps.js";
import { driverOf, ifThere, readPciFunction, virtualFunctionsOf } from "./sysfs.js";
import { holdersText, type VfioHolder, virtualFunctionHolders } from "./usage/holders.js";
import { usersSearch } from "./usage/users.js";
import { VFIO_PCI } from "./vfio-driver.js";

const ENABLE_SRIOV = "/sys/module/vfio_pci/parameters/enable_sriov";

/** Options of {@link removeVirtualFunctions}. */
export interface VirtualFunctionRemoval {
  /** Time limit in milliseconds of each step that the kernel or a driver may wait in; 30,000 by default. */
  readonly timeoutMs?: number | undefined;
  /** Gives up: the promise rejects with its reason. A creation is undone, unless the kernel still waits in it. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of {@link createVirtualFunctions}. */
export interface VirtualFunctionOptions extends VirtualFunctionRemoval {
  /**
   * Binds the virtual functions to vfio-pci, and keeps the kernel's drivers away from them. By default the kernel chooses a
   * driver; if vfio-pci drives the physical function, the kernel always gives them to vfio-pci.
   */
  readonly driver?: "vfio-pci" | undefined;
}

/** Virtual functions that this program has created. close() removes them. */
export class VirtualFunctions extends Resource {
  /** @internal */
  constructor(
    /** Address of the physical function. */
    readonly physicalFunction: string,
    /** Addresses of the virtual functions, in the order of their numbers. */
    readonly addresses: readonly string[],
    timeoutMs: number,
    openedBelow: ReadonlySet<string>,
  ) {
    super({
      label: `virtual functions of ${physicalFunction}`,
      release: removal(physicalFunction, addresses, timeoutMs),
    });
    // Closing the physical function's device closes what was opened through it first.
    const assertOthersIdle = (): number => {
      assertUnused(physicalFunction, addresses, openedBelow);
      return 0;
    };
    this.lease.setForeignHolders({ count: assertOthersIdle, lock: () => 0, unlock: () => {} });
  }

  /**
   * Removes them, within the time limit given to {@link createVirtualFunctions}. Does nothing if they have gone already.
   * @throws BusyError, with nothing done, if one is in use: it names which, and by whom; SysError; TimeoutError
   */
  override close(): void {
    this.assertUnused();
    super.close();
  }

  override async closeAsync(): Promise<void> {
    this.assertUnused();
    await super.closeAsync();
  }

  private assertUnused(): void {
    if (!this.closed) assertUnused(this.physicalFunction, this.addresses);
  }
}

/** Not a closure of the constructor: a lease must not keep what users hold. */
function removal(pf: string, addresses: readonly string[], timeoutMs: number) {
  const isDone = (): boolean => {
    const present = existsSync(`/sys/bus/pci/devices/${pf}`) ? virtualFunctionsOf(pf) : [];
    // If they are others by now, another program has made them.
    if (present.join() !== addresses.join()) return true;
    assertUnused(pf, addresses);
    return false;
  };
  const steps = new NumberOfVfs(pf, { timeoutMs });
  return {
    now: (): void => {
      if (!isDone()) steps.write(0);
    },
    later: async (): Promise<void> => {
      if (!isDone()) await steps.writeAsync(0);
    },
  };
}

/**
 * Creates virtual functions of a physical function, as writing to its `sriov_numvfs` does. An error leaves none. If vfio-pci drives
 * the physical function, opening it resets it: open it first, and use {@link PciDevice.createVirtualFunctions}.
 * @param address of the physical function, bound to a driver that can do it: vfio-pci with `enable_sriov`, or the kernel's
 * @param count 1 to {@link PciFunction.maxVirtualFunctions}
 * @throws ArgumentError (no such function), UnsupportedError (no SR-IOV, the driver can't, `enable_sriov` is off), BusyError (it has
 *   some already), SysError: EACCES without root; BindError; TimeoutError: the kernel may complete it later
 */
export async function createVirtualFunctions(
  address: string,
  count: number,
  options: VirtualFunctionOptions = {},
): Promise<VirtualFunctions> {
  return await createFor(parseBdf(address), count, options, new Set());
}

/**
 * {@link createVirtualFunctions} for an open physical function.
 * @param openedBelow addresses of virtual functions that close with the physical function
 */
export async function createFor(
  pf: string,
  count: number,
  options: VirtualFunctionOptions,
  openedBelow: ReadonlySet<string>,
): Promise<VirtualFunctions> {
  checkKeys("options", options, ["driver", "timeoutMs", "signal"]);
  const { driver } = options;
  if (driver !== undefined && driver !== VFIO_PCI)
    throw new ArgumentError(`driver must be ${VFIO_PCI} or left out, got ${show(driver)}`);
  const steps = new NumberOfVfs(pf, options);
  const { timeoutMs, signal } = steps.wait;
  signal?.throwIfAborted();
  const undoing = new NumberOfVfs(pf, { timeoutMs });
  assertCapable(pf, count);
  const isFree = driver === VFIO_PCI && driverOf(pf) !== VFIO_PCI;
  const probes = isFree ? kernelText(steps.autoprobe) : undefined;
  try {
    if (probes === "1") await steps.setAutoprobe("0");
    try {
      await steps.writeAsync(count);
      const addresses = virtualFunctionsOf(pf);
      if (addresses.length !== count)
        throw new UnsupportedError(
          `${pf}: ${count} virtual functions were asked for, and its driver made ${addresses.length}`,
        );
      if (isFree) for (const vf of addresses) (await bindToVfioAsync(vf, { timeoutMs, signal })).relinquish();
      return new VirtualFunctions(pf, addresses, timeoutMs, openedBelow);
    } catch (error) {
      if (!steps.wait.mayBeStuck(error)) await undo(undoing, error);
      throw error;
    }
  } finally {
    // Only now: a driver that is loaded in between would take what has no driver.
    if (probes === "1") await undoing.setAutoprobe("1");
  }
}

/** Removes what a failed creation has left. */
async function undo(steps: NumberOfVfs, error: unknown): Promise<void> {
  const present = virtualFunctionsOf(steps.pf);
  if (present.length === 0) return;
  try {
    assertUnused(steps.pf, present);
    await steps.writeAsync(0);
  } catch (cause) {
    const reason = (each: unknown): string => (each instanceof Error ? each.message : String(each));
    throw new BindError(`${reason(error)}; the virtual functions are still there: ${reason(cause)}`, {
      cause: error,
    });
  }
}

/**
 * Removes all virtual functions of a physical function, whoever made them; nothing if it has none.
 * @returns their addresses
 * @throws ArgumentError (no such function), UnsupportedError (no SR-IOV), BusyError, with nothing done, if one is in use: it names
 *   which, and by whom; SysError: EACCES without root; TimeoutError: the kernel may complete it later
 */
export async function removeVirtualFunctions(
  address: string,
  options: VirtualFunctionRemoval = {},
): Promise<readonly string[]> {
  const pf = parseBdf(address);
  checkKeys("options", options, ["timeoutMs", "signal"]);
  const steps = new NumberOfVfs(pf, options);
  options.signal?.throwIfAborted();
  assertPhysical(pf);
  const addresses = virtualFunctionsOf(pf);
  if (addresses.length === 0) return [];
  assertUnused(pf, addresses);
  await steps.writeAsync(0);
  return addresses;
}

/** @returns how many virtual functions it can have @throws ArgumentError (no such function), UnsupportedError */
function assertPhysical(bdf: string): number {
  const { physicalFunction, maxVirtualFunctions } = readPciFunction(bdf);
  if (physicalFunction !== undefined)
    throw new UnsupportedError(
      `${bdf} is a virtual function itself: ask its physical function, ${physicalFunction}`,
    );
  if (maxVirtualFunctions === 0)
    throw new UnsupportedError(`${bdf} can't have virtual functions: it, or this kernel, has no SR-IOV`);
  return maxVirtualFunctions;
}

/** @throws what {@link createVirtualFunctions} throws before it changes anything */
function assertCapable(pf: string, count: number): void {
  checkInteger("count", count, 1, assertPhysical(pf));
  const present = virtualFunctionsOf(pf);
  if (present.length > 0) {
    throw new BusyError(
      `${pf} has ${present.length} virtual functions already (${present.join(", ")}), and their number can't be changed: ` +
        `remove them first (npx iova sriov ${pf} 0)`,
    );
  }
  const driver = driverOf(pf);
  if (driver === undefined)
    throw new UnsupportedError(
      `${pf} has no driver, which creates virtual functions: bind it to ${VFIO_PCI} (npx iova bind ${pf}) or the kernel's driver`,
    );
  if (driver === VFIO_PCI && kernelText(ENABLE_SRIOV) === "N")
    throw new UnsupportedError(
      `${VFIO_PCI} creates no virtual functions while its parameter enable_sriov is off: write Y to ${ENABLE_SRIOV}`,
    );
}

/** @throws BusyError if a virtual function is in use, except through this process if it is one of `openedBelow` */
function assertUnused(
  pf: string,
  vfs: readonly string[],
  openedBelow: ReadonlySet<string> = new Set(),
): void {
  const present = vfs.filter((vf) => existsSync(`/sys/bus/pci/devices/${vf}`));
  const usersOf = usersSearch();
  const users = [
    ...openText(virtualFunctionHolders(pf, present, openedBelow)),
    ...present.flatMap((vf) => ifThere(() => usersOf(vf))?.map((user) => `${vf}: ${user}`) ?? []),
  ];
  if (users.length > 0)
    throw new BusyError(`the virtual functions of ${pf} can't be removed: ${users.join("; ")}`);
}

function openText(holders: ReadonlyMap<string, readonly VfioHolder[]>): string[] {
  return [...holders].map(([vf, some]) => `${vf} is open in ${holdersText(some)}`);
}

/** Changes `sriov_numvfs` of a function. The kernel holds the function's lock meanwhile. */
class NumberOfVfs {
  readonly wait: StepWait;
  readonly autoprobe: string;
  private readonly path: string;

  constructor(
    readonly pf: string,
    options: VirtualFunctionRemoval,
  ) {
    this.wait = new StepWait(options, () => this.advice());
    const home = `/sys/bus/pci/devices/${pf}`;
    this.path = join(home, "sriov_numvfs");
    this.autoprobe = join(home, "sriov_drivers_autoprobe");
  }

  write(count: number): void {
    try {
      writeWithin(this.path, `${count}\n`, this.wait);
    } catch (error) {
      throw this.explain(error);
    }
  }

  async writeAsync(count: number): Promise<void> {
    try {
      await writeWithinAsync(this.path, `${count}\n`, this.wait);
    } catch (error) {
      throw this.explain(error);
    }
  }

  /** Whether the kernel looks for drivers of new virtual functions. */
  async setAutoprobe(value: "0" | "1"): Promise<void> {
    try {
      await writeWithinAsync(this.autoprobe, `${value}\n`, this.wait);
    } catch (error) {
      throw this.explain(error);
    }
  }

  private advice(): string {
    const { pf } = this;
    const holders = openText(virtualFunctionHolders(pf, virtualFunctionsOf(pf)));
    return holders.length > 0
      ? `${holders.join("; ")}: close it there, then try again`
      : "no process that has a virtual function open can be seen: the kernel's log may say more";
  }

  private explain(error: unknown): unknown {
    if (!(error instanceof SysError)) return error;
    switch (error.code) {
      case "EACCES":
      case "EPERM":
      case "EROFS":
        return error.with({ hint: refusalHint(error.code, "creating and removing virtual functions") });
      case "ENOENT":
        return new UnsupportedError(
          `the driver of ${this.pf} (${driverOf(this.pf) ?? "none"}) can't create or remove virtual functions by sriov_numvfs`,
          { cause: error },
        );
      case "EBUSY":
        return new BusyError(
          `${this.pf} has virtual functions by now, and their number can't be changed: remove them first`,
          { cause: error },
        );
      case "ENOMEM":
        return error.with({
          hint: "the firmware has left no address range or bus number for the virtual functions",
        });
      default:
        return error;
    }
  }
}
