import { DmaSpace } from "../dma/space.js";
import { ArgumentError } from "../sys/errors.js";
import { closeAll, closeAllAsync, Lease, Resource } from "../sys/resource.js";
import type { DeviceIo, DevicePresence } from "../vfio/device-io.js";
import type { VfioUserOptions } from "../vfio-user/options.js";
import { type BackendChoice, type BackendName, joinSpace, openBackend, openVfioUser } from "./backend.js";
import { Bar } from "./bar.js";
import { parseBdf } from "./bdf.js";
import { ConfigSpace } from "./config-space.js";
import { describeFunction } from "./describe.js";
import { type InterruptOptions, Interrupts } from "./interrupts.js";
import { type PciFunction, readPciFunction } from "./sysfs.js";

/** Options of {@link PciDevice.open}. */
export interface PciOpenOptions {
  /** Left out: iommufd where it works, else type1. The others have to be asked for. */
  readonly backend?: BackendName | undefined;
  /**
   * A DMA space that exists, for instance another device's: this device joins it, and reaches what is mapped there. It is
   * closed before the space is; whoever opened the space first closes it.
   */
  readonly dma?: DmaSpace | undefined;
  /**
   * The secret of a physical function whose virtual functions vfio-pci has too, a UUID: who opens the physical one sets it,
   * and without it none of the virtual ones can be opened.
   */
  readonly vfToken?: string | undefined;
  /** How to speak to the server, where the address is `vfio-user:PATH`. */
  readonly vfioUser?: VfioUserOptions | undefined;
}

const VFIO_USER = "vfio-user:";

/** A PCI function opened for a driver in this process: registers, interrupts and DMA, whatever the backend. */
export class PciDevice extends Resource {
  /** domain:bus:device.function, or `vfio-user:PATH`. */
  readonly bdf: string;
  /** Which backend was chosen, and why. */
  readonly backend: BackendName;
  readonly backendReason: string;
  /** What sysfs says of the function, or its own configuration space where it has no place there. */
  readonly function: PciFunction;
  /** Its configuration space. */
  readonly config: ConfigSpace;
  /** The address space its DMA goes through. */
  readonly dma: DmaSpace;
  /** The layer below, for what has no method here. */
  readonly io: DeviceIo;
  private readonly joined: boolean;
  private readonly bars = new Map<number, Bar>();

  private constructor(bdf: string, options: PciOpenOptions) {
    const socket = bdf.startsWith(VFIO_USER) ? bdf.slice(VFIO_USER.length) : undefined;
    const fn = socket === undefined ? readPciFunction(bdf) : undefined;
    const joined = options.dma;
    if (joined !== undefined && !(joined instanceof DmaSpace))
      throw new ArgumentError("dma must be a DmaSpace");
    const { name, reason, io, space, resources, after } = choose(bdf, socket, options);
    const leases: { close(): void; closeAsync(): Promise<void> }[] = resources.map((resource) =>
      resource.entrust(),
    );
    if (after !== undefined) leases.push({ close: after, closeAsync: async () => after() });
    const label = `PCI device ${bdf} (${name})`;
    const parents = joined === undefined ? [] : [joined.lease];
    const release = {
      now: () => closeAll(leases, `closing ${label}`),
      later: () => closeAllAsync(leases, `closing ${label}`),
    };
    super(new Lease(label, release, ...parents));
    this.joined = joined !== undefined;
    if (joined !== undefined) this.keep(joined);
    this.bdf = bdf;
    this.backend = name;
    this.backendReason = reason;
    this.dma = space;
    this.io = io;
    for (const resource of resources) {
      this.keep(resource);
      // Whoever still has a part (the address space, a BAR, a buffer) still has the whole.
      resource.keep(this);
    }
    try {
      this.config = new ConfigSpace(io);
      this.function = fn ?? describeFunction(bdf, io);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Opens a function that is bound to vfio-pci (see {@link bindToVfio}), or one that a vfio-user server has.
   * @param address `0000:00:03.0`, `00:03.0` or `vfio-user:/path/of/socket`
   * @throws ArgumentError (malformed, no such device, a token for what takes none), UnsupportedError (no backend works: with each one's reason),
   *   SysError; nothing stays open
   */
  static open(address: string, options: PciOpenOptions = {}): PciDevice {
    return new PciDevice(address.startsWith(VFIO_USER) ? address : parseBdf(address), options);
  }

  /** A base address register. @throws ArgumentError where the function has no such BAR */
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

  /** Resets the function. @throws UnsupportedError where it has no reset, SysError */
  reset(): void {
    this.lease.assertOpen();
    this.io.reset();
  }

  /**
   * Calls `listener` when the device goes or comes back, as one behind a vfio-user server can (`vfioUser: { reconnect }`).
   * Never called by backends that don't know.
   * @returns how to stop that
   */
  onPresence(listener: (event: DevicePresence) => void): () => void {
    this.lease.assertOpen();
    return this.io.onPresence?.(listener) ?? (() => {});
  }

  /**
   * Closes the device, then its mappings; of a space that it joined it only leaves.
   * @throws BusyError while a buffer of its own space is in flight, with nothing closed
   */
  override close(): void {
    if (!this.closed && !this.joined) {
      this.lease.assertIdle();
      this.dma.lease.lockIdle();
    }
    super.close();
  }

  override async closeAsync(): Promise<void> {
    if (!this.closed && !this.joined) {
      this.lease.assertIdle();
      this.dma.lease.lockIdle();
    }
    await super.closeAsync();
  }
}

function choose(bdf: string, socket: string | undefined, options: PciOpenOptions): BackendChoice {
  const { dma, backend, vfToken } = options;
  if (socket === undefined) {
    const secret = vfToken === undefined ? {} : { token: vfToken };
    return dma === undefined ? openBackend(bdf, backend, secret) : joinSpace(bdf, dma, backend, secret);
  }
  if (vfToken !== undefined)
    throw new ArgumentError(`${bdf} is no function of this host: it takes no vfToken`);
  if (backend !== undefined && backend !== "vfio-user") {
    throw new ArgumentError(`${bdf} is reached over vfio-user, not through ${backend}`);
  }
  // Each connection has mappings of its own.
  if (dma !== undefined) throw new ArgumentError(`${bdf} can't join another device's DMA space`);
  return openVfioUser(socket, options.vfioUser ?? {});
}
