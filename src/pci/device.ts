/** A PCI function, opened for a driver. */
import { DeviceUse } from "../activity/page.js";
import { checkInteger, checkKeys, MAX_TIMER_MS, show } from "../core/check.js";
import { ArgumentError, DeviceGoneError, UnsupportedError } from "../core/errors.js";
import { closeAll, closeAllAsync } from "../core/lifetime/close-all.js";
import { Lease } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import { checkSignal, type ListenOptions, type Subscription } from "../core/listeners.js";
import { checkAccess, type DmaAccess } from "../dma/access.js";
import { checkAddressBits, DmaSpace } from "../dma/space.js";
import { IoasMapper } from "../iommufd/ioas-mapper.js";
import { DevicePageTables } from "../iommufd/page-tables.js";
import { parseServed } from "../lending/address.js";
import { VfioDevice } from "../vfio/device.js";
import type { DeviceIo, DevicePresence } from "../vfio/device-io.js";
import type { AffectedDevice } from "../vfio/hot-reset.js";
import { isUuid, uuidToBytes } from "../vfio/uuid.js";
import { setVfToken } from "../vfio/vf-token.js";
import type { VfioUserOptions } from "../vfio-user/client/options.js";
import { parseBdf } from "./address/bdf.js";
import type { DeviceDescriptors } from "./backends/given.js";
import { Bar } from "./bar.js";
import { affectedByBusReset, resetBus, resetBusAsync } from "./bus-reset.js";
import { ConfigSpace, PciRegister } from "./config-space.js";
import { describeFunction } from "./describe.js";
import { type InterruptOptions, Interrupts } from "./interrupts.js";
import { findMediatedDevice, type MediatedDeviceInfo, noSuchMediatedDevice } from "./mediated-devices.js";
import {
  type BackendChoice,
  type BackendName,
  isOwnBackend,
  joinSpace,
  joinSpaceGiven,
  openBackend,
  openBorrowed,
  openDescriptors,
  openVfioUser,
} from "./open.js";
import { DevicePower } from "./power.js";
import { presenceOf } from "./presence.js";
import { waitFor } from "./steps/kernel-steps.js";
import { findPciFunction, type PciFunction, readPciFunction, virtualFunctionsOf } from "./sysfs.js";
import { VFIO_PCI } from "./vfio-driver.js";
import { createFor, type VirtualFunctionOptions, type VirtualFunctions } from "./virtual-functions.js";

/** Options of {@link PciDevice.open}. */
export interface PciOpenOptions {
  /** By default, iommufd if it works, otherwise type1. The other backends are used only if named here. */
  readonly backend?: BackendName | undefined;
  /**
   * An existing DMA space, such as another device's. This device joins it, and reaches what is mapped there. Close this device
   * before the space.
   */
  readonly dma?: DmaSpace | undefined;
  /**
   * How many address bits the device has for DMA: 13 to 64, by default 64. From now on what is allocated or mapped in its space
   * lies below 2^addressBits, unless `alloc()` or `map()` is told otherwise. The other devices of the space are bound by it, too.
   */
  readonly addressBits?: number | undefined;
  /**
   * What the device does with memory: `read` if it only sends data, `write` if it only receives; `read-write` by default. From now
   * on what is allocated or mapped in its space can't be accessed otherwise, unless `alloc()` or `map()` is told otherwise. In a
   * space with several devices, what one of them needs is granted to all.
   */
  readonly access?: DmaAccess | undefined;
  /** Options of the connection, if the address is `vfio-user:PATH`. */
  readonly vfioUser?: VfioUserOptions | undefined;
  /**
   * A UUID, the secret that a physical function shares with its virtual functions if vfio-pci drives both. Opening the physical
   * function sets it. A virtual function opens only with it, and so does the physical one while a virtual one is open. Opening
   * by character device needs Linux 6.17.
   */
  readonly vfToken?: string | undefined;
  /** Descriptors of the function that another process opened, in place of its nodes in /dev: see {@link DeviceDescriptors}. */
  readonly descriptors?: DeviceDescriptors | undefined;
}

/** Options of {@link PciDevice.reset}. */
export interface ResetOptions {
  /** `function` (the default) or `bus`. */
  readonly scope?: "function" | "bus" | undefined;
}

/** Options of {@link PciDevice.resetAsync}. */
export interface AsyncResetOptions extends ResetOptions {
  /** Time limit in milliseconds; none by default. */
  readonly timeoutMs?: number | undefined;
  /** Ends the wait: the promise rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

const VFIO_USER = "vfio-user:";

/**
 * A PCI function opened for a driver in this process: its registers, interrupts and DMA, the same for all backends. `close()` closes
 * its address space, too; a space that it joined stays open. It throws a BusyError, with nothing closed, while a buffer is in flight.
 */
export class PciDevice extends Resource {
  /** domain:bus:device.function, `vfio-user:PATH`, or a mediated device's UUID. */
  readonly bdf: string;
  /** Name of the backend: a {@link BackendName}, or the `name` of your own `DmaMapper` if it joined that one's space. */
  readonly backend: string;
  /** Why this backend was chosen, in words for people. */
  readonly backendReason: string;
  /** The function's description, from sysfs, or from its configuration space if it isn't on the host's PCI bus. */
  readonly function: PciFunction;
  /** Its configuration space. */
  readonly config: ConfigSpace;
  /** The address space its DMA goes through. */
  readonly dma: DmaSpace;
  /** Its power states. */
  readonly power: DevicePower;
  /** The layer below, for requests that have no method here. */
  readonly io: DeviceIo;
  private readonly joined: boolean;
  private readonly bars = new Map<number, Bar>();
  private tables: DevicePageTables | undefined;
  /** Not a property that a log would show. */
  #vfToken: string | undefined;
  /** Virtual functions that close with this function. */
  private readonly openedBelow = new Set<string>();

  /** @param lender socket of the server that lends the function */
  private constructor(bdf: string, options: PciOpenOptions, lender?: string) {
    const socket = bdf.startsWith(VFIO_USER) ? bdf.slice(VFIO_USER.length) : undefined;
    if (options.vfToken !== undefined) uuidToBytes(options.vfToken);
    const { dma: joined, addressBits, access = "read-write" } = options;
    checkAccess(access);
    if (addressBits !== undefined) checkAddressBits(addressBits);
    if (joined !== undefined && !(joined instanceof DmaSpace))
      throw new ArgumentError("dma must be a DmaSpace");
    const mediated = isUuid(bdf) ? mediatedOf(bdf, options) : undefined;
    const fn = socket === undefined && !isUuid(bdf) ? functionOf(bdf, joined) : undefined;
    const { name, reason, io, space, resources, after } = choose(bdf, socket, options, lender);
    const leases: { close(): void; closeAsync(): Promise<void> }[] = resources.map((resource) =>
      resource instanceof Resource ? resource.relinquish() : resource.lease,
    );
    const use = new DeviceUse();
    leases.unshift(use);
    if (after !== undefined) leases.push({ close: after, closeAsync: async () => after() });
    const label = `PCI device ${bdf} (${name})`;
    const parents = joined === undefined ? [] : [joined.lease];
    const release = {
      now: () => closeAll(leases, `closing ${label}`),
      later: () => closeAllAsync(leases, `closing ${label}`),
    };
    const lease = new Lease(label, release, ...parents);
    lease.setOwned(resources.map((resource) => resource.lease));
    super(lease);
    use.begin(bdf, name);
    this.joined = joined !== undefined;
    if (joined !== undefined) this.retain(joined);
    this.bdf = bdf;
    this.backend = name;
    this.backendReason = reason;
    this.dma = space;
    this.io = io;
    // From now on it notices if the device goes.
    presenceOf(io);
    for (const resource of resources) {
      this.retain(resource);
      // A reference to a part (the address space, a BAR, a buffer) keeps the whole device open.
      if (resource instanceof Resource) resource.retain(this);
    }
    try {
      this.config = new ConfigSpace(io);
      this.power = new DevicePower(io, this.config);
      // A driver may know its interrupts only after this request, as the kernel's sample does.
      if (mediated !== undefined) io.info();
      this.function = fn ?? describeFunction(bdf, io, mediated);
      this.#vfToken = options.vfToken;
      if (fn?.physicalFunction !== undefined) this.assertAnswers(fn.physicalFunction);
      if (addressBits !== undefined) space.narrow(addressBits);
      space.admit(access);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Opens a function that is bound to vfio-pci (see {@link bindToVfio}), one of a vfio-user server, or a mediated device that is
   * a PCI function. An error leaves nothing open.
   * @param address `0000:00:03.0`, `00:03.0`, `vfio-user:/path/of/socket`, a mediated device's UUID, or
   *   `served:/path/of/socket@0000:00:03.0` for a function that a DeviceServer lends
   * @throws ArgumentError (malformed, no such device, a token not allowed), UnsupportedError (no backend works; names each
   *   one's reason), SysError: EACCES if a virtual function needs another token
   */
  static open(address: string, options: PciOpenOptions = {}): PciDevice {
    const isSocket = typeof address === "string" && address.startsWith(VFIO_USER);
    checkKeys("options", options, [
      ...["backend", "dma", "addressBits", "access", "vfioUser", "vfToken", "descriptors"],
    ]);
    if (isSocket) return new PciDevice(address, options);
    const served = typeof address === "string" ? parseServed(address) : undefined;
    if (served !== undefined) return new PciDevice(parseBdf(served.bdf), options, served.socket);
    return new PciDevice(isUuid(address) ? address.toLowerCase() : parseBdf(address), options);
  }

  /** A base address register. @throws ArgumentError if the function has no such BAR */
  bar(index: number): Bar {
    this.lease.assertOpen();
    let bar = this.bars.get(index);
    if (bar === undefined) {
      bar = new Bar(this.io, index);
      this.bars.set(index, bar);
    }
    return bar;
  }

  /** Switches interrupts on. @throws ArgumentError, UnsupportedError, SysError */
  enableInterrupts(options: InterruptOptions = {}): Interrupts {
    this.lease.assertOpen();
    return new Interrupts(this.io, options);
  }

  /**
   * Page tables of the IOMMU for this device besides that of {@link dma}: with a queue of page faults, for PASIDs, as the parent of a
   * guest's.
   * @throws UnsupportedError unless the backend is iommufd; ClosedError
   */
  get pageTables(): DevicePageTables {
    this.lease.assertOpen();
    const { io, dma } = this;
    if (!(io instanceof VfioDevice && dma.mapper instanceof IoasMapper)) {
      throw new UnsupportedError(
        `${this.lease.label} has no page tables to choose: open it through iommufd, on a machine with an IOMMU`,
      );
    }
    this.tables ??= new DevicePageTables(io, dma);
    return this.tables;
  }

  /**
   * Resets the function, or with `scope: "bus"` its slot or bus and all functions there ({@link affectedByReset}). It takes up to a
   * second; minutes if the device doesn't come back (see `VfioDevice.reset()`). It wakes a function from D3hot.
   * @throws ArgumentError, UnsupportedError if there is no such reset, BusyError if it would reset functions that this process
   *   doesn't have, SysError
   */
  reset(options: ResetOptions = {}): void {
    this.lease.assertOpen();
    if (isBus(options)) resetBus(this.io, this.dma.mapper);
    else this.io.reset();
    this.power.settle();
  }

  /**
   * {@link reset} without blocking the JavaScript thread, which can be given up on. Don't use the device until the kernel has done it;
   * `close()` throws a BusyError until then.
   * @throws as a rejection; TimeoutError, the signal's reason: the kernel completes the reset later
   */
  async resetAsync(options: AsyncResetOptions = {}): Promise<void> {
    const bus = isBus(options, ["scope", "timeoutMs", "signal"]);
    const { timeoutMs, signal } = options;
    if (timeoutMs !== undefined) checkInteger("timeoutMs", timeoutMs, 1, MAX_TIMER_MS);
    checkSignal(signal)?.throwIfAborted();
    await waitFor(this.resetBeside(bus), { what: `the reset of ${this.bdf}`, timeoutMs, signal });
  }

  private async resetBeside(bus: boolean): Promise<void> {
    const { io, lease } = this;
    await lease.during("a reset under way", () =>
      presenceOf(io).resetting(async () => {
        if (bus) await resetBusAsync(io, this.dma.mapper);
        else if (io.resetAsync === undefined) io.reset();
        else await io.resetAsync();
      }),
    );
    if (!this.closed) this.power.settle();
  }

  /**
   * The functions that a bus reset affects, this one included.
   * @throws UnsupportedError if there is no bus reset, as on a root bus; ClosedError, SysError
   */
  affectedByReset(): readonly AffectedDevice[] {
    return affectedByBusReset(this.io);
  }

  /**
   * Sets the token that opening a virtual function of this physical function needs from now on: see
   * {@link PciOpenOptions.vfToken}. The token outlives this device.
   * @param uuid as text
   * @throws ArgumentError (not a UUID), UnsupportedError (not a physical function with SR-IOV), SysError
   */
  setVfToken(uuid: string): void {
    this.lease.assertOpen();
    uuidToBytes(uuid);
    if (!(this.io instanceof VfioDevice)) throw new UnsupportedError(`${this.bdf} has no virtual functions`);
    setVfToken(this.io, uuid);
    this.#vfToken = uuid;
  }

  /** The token of {@link PciOpenOptions.vfToken} or {@link setVfToken}, or one that this device has made; undefined if there is none. */
  get vfToken(): string | undefined {
    return this.#vfToken;
  }

  /**
   * Creates virtual functions of this physical function. vfio-pci drives them. They need {@link vfToken}: this sets one if there is none.
   * Closing this device removes them; so may a reset of it.
   * @param count 1 to {@link PciFunction.maxVirtualFunctions}
   * @throws as {@link createVirtualFunctions}; ClosedError
   */
  async createVirtualFunctions(
    count: number,
    options: VirtualFunctionOptions = {},
  ): Promise<VirtualFunctions> {
    this.assertOnBus();
    return await this.lease.during("the creation of virtual functions", async () => {
      const functions = await createFor(this.bdf, count, options, this.openedBelow);
      try {
        this.tokenForVfs();
        functions.dependOn(this);
        // They may be used through this device only.
        this.retain(functions);
        return functions;
      } catch (error) {
        await functions.closeAsync();
        throw error;
      }
    });
  }

  /**
   * Opens a virtual function of this physical function with its token: this sets one if there is none. Closing this device closes it
   * first.
   * @param index from 0, of the virtual functions that there are now
   * @throws ArgumentError (no such virtual function), DeviceGoneError (a reset of this function has disabled it), and as {@link open}
   */
  openVirtualFunction(index: number, options: Omit<PciOpenOptions, "vfToken"> = {}): PciDevice {
    this.assertOnBus();
    checkKeys("options", options, ["backend", "dma", "addressBits", "access", "vfioUser"]);
    checkInteger("index", index, 0, 0xffff);
    const present = virtualFunctionsOf(this.bdf);
    const address = present[index];
    if (address === undefined)
      throw new ArgumentError(`${this.bdf} has no virtual function ${index}: it has ${present.length}`);
    const vf = PciDevice.open(address, { ...options, vfToken: this.tokenForVfs() });
    try {
      // Its space, too, so that a buffer in flight is noticed before anything closes.
      if (!vf.joined) vf.dma.dependOn(this);
      vf.dependOn(this);
      const { openedBelow } = this;
      openedBelow.add(address);
      new Lease(`use of ${address}`, () => openedBelow.delete(address), vf.lease);
      return vf;
    } catch (error) {
      vf.close();
      throw error;
    }
  }

  private tokenForVfs(): string {
    const token = this.#vfToken ?? crypto.randomUUID();
    if (token !== this.#vfToken) this.setVfToken(token);
    return token;
  }

  /** @throws UnsupportedError, ClosedError */
  private assertOnBus(): void {
    this.lease.assertOpen();
    if (!(this.io instanceof VfioDevice) || isUuid(this.bdf))
      throw new UnsupportedError(`${this.bdf} has no virtual functions`);
  }

  /** A touch of a disabled function's BAR would end this process. @throws DeviceGoneError */
  private assertAnswers(physicalFunction: string): void {
    if (this.config.read32(PciRegister.revision) !== 0xffff_ffff) return;
    throw new DeviceGoneError(
      this.lease.label,
      `doesn't answer: a reset of its physical function ${physicalFunction}, as by opening that, has disabled it. ` +
        "Open that first, then create the virtual functions again",
    );
  }

  /**
   * Aborts when the device goes (DeviceGoneError), when the kernel requests it back ({@link DeviceRequestedError}), and when it
   * closes (ClosedError): give it to whatever a driver waits for. If the device comes back, this is a new signal from then on.
   * @throws SysError
   */
  get signal(): AbortSignal {
    return presenceOf(this.io).signal;
  }

  /**
   * Calls `listener` when the device goes, is requested back, or reports an error of its bus; with vfio-user, also when it comes
   * back (`vfioUser: { reconnect }`).
   * @throws ArgumentError, ClosedError, SysError
   */
  onPresence(listener: (event: DevicePresence) => void, options: ListenOptions = {}): Subscription {
    this.lease.assertOpen();
    return presenceOf(this.io).on(listener, options);
  }
}

/** @throws ArgumentError */
function isBus(options: ResetOptions, known: readonly string[] = ["scope"]): boolean {
  checkKeys("options", options, known);
  const { scope = "function" } = options;
  if (scope !== "function" && scope !== "bus")
    throw new ArgumentError(`scope must be function or bus, got ${show(scope)}`);
  return scope === "bus";
}

/**
 * What sysfs says of a function; undefined if the function isn't in sysfs and need not be.
 * @throws ArgumentError: there is no such function
 */
function functionOf(bdf: string, joined: DmaSpace | undefined): PciFunction | undefined {
  return joined === undefined || isOwnBackend(joined) ? readPciFunction(bdf) : findPciFunction(bdf);
}

/**
 * What sysfs says of a mediated device; undefined if it isn't in sysfs and need not be.
 * @throws ArgumentError (there is no such device, or it takes no token), UnsupportedError: it is no PCI function
 */
function mediatedOf(uuid: string, options: PciOpenOptions): MediatedDeviceInfo | undefined {
  const { dma, backend, vfToken } = options;
  const found = findMediatedDevice(uuid);
  if (found === undefined && (dma === undefined || isOwnBackend(dma))) throw noSuchMediatedDevice(uuid);
  const api = found?.deviceApi;
  if (api !== undefined && api !== VFIO_PCI)
    throw new UnsupportedError(`mediated device ${uuid} is no PCI function: it is of the kind ${api}`);
  if (vfToken !== undefined)
    throw new ArgumentError(
      `mediated device ${uuid} is no virtual function, and takes no token: leave vfToken out`,
    );
  if (backend === "noiommu")
    throw new UnsupportedError(
      `mediated device ${uuid}: its parent's driver reaches memory for it, so noiommu doesn't apply; use iommufd or type1`,
    );
  return found;
}

function choose(
  bdf: string,
  socket: string | undefined,
  options: PciOpenOptions,
  lender: string | undefined,
): BackendChoice {
  const { dma, backend, vfToken, descriptors } = options;
  if (lender !== undefined || descriptors !== undefined) {
    if (socket !== undefined)
      throw new ArgumentError(`${bdf} is reached over vfio-user: leave descriptors out`);
    if (lender !== undefined && descriptors !== undefined)
      throw new ArgumentError(`${lender} gives the descriptors: leave yours out`);
    if (dma !== undefined) {
      const from = descriptors === undefined ? { socket: lender ?? "" } : { descriptors };
      return joinSpaceGiven(bdf, dma, backend, from, vfToken);
    }
    if (lender === undefined) return openDescriptors(bdf, backend, descriptors, vfToken);
    return openBorrowed(bdf, backend, lender, vfToken);
  }
  if (socket === undefined) {
    return dma === undefined ? openBackend(bdf, backend, vfToken) : joinSpace(bdf, dma, backend, vfToken);
  }
  if (backend !== undefined && backend !== "vfio-user") {
    throw new ArgumentError(`${bdf} is reached over vfio-user, not through ${show(backend)}`);
  }
  // Each connection has its own mappings.
  if (dma !== undefined) throw new ArgumentError(`${bdf} can't join another device's DMA space`);
  if (vfToken !== undefined)
    throw new ArgumentError(`${bdf} is reached over vfio-user, which has no tokens: leave vfToken out`);
  return openVfioUser(socket, options.vfioUser ?? {});
}
