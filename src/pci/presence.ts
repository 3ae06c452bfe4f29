/** Whether a device is still there and wanted: one object for each device, behind `onPresence`, `signal` and every wait. */
import { noteError } from "../activity/page.js";
import { ArgumentError, ClosedError, DeviceGoneError, DeviceRequestedError } from "../core/errors.js";
import { Lease } from "../core/lifetime/lease.js";
import { Listeners, type ListenOptions, type Subscription } from "../core/listeners.js";
import { EventFd } from "../sys/eventfd.js";
import type { DeviceIo, DevicePresence } from "../vfio/device-io.js";
import {
  VFIO_PCI_CONFIG_REGION_INDEX,
  VFIO_PCI_ERR_IRQ_INDEX,
  VFIO_PCI_REQ_IRQ_INDEX,
} from "../vfio/uapi.js";

/**
 * Offset in configuration space. Reads of it reach the device, and no function has 0xff in all four bytes. The vendor id doesn't
 * tell: Linux answers its reads from a copy (vfio_pci_config.c).
 */
const REVISION_AND_CLASS = 0x08;
const ALL_ONES = 0xff;

const presences = new WeakMap<DeviceIo, Presence>();

/** The presence of a device, the same for all that use the device. */
export function presenceOf(io: DeviceIo): Presence {
  let presence = presences.get(io);
  if (presence === undefined) {
    presence = new Presence(io);
    presences.set(io, presence);
  }
  return presence;
}

/** Only {@link presenceOf} makes one: the kernel takes one eventfd for each kind of notice. */
class Presence {
  private readonly listeners = new Listeners<DevicePresence>();
  private gone: DeviceGoneError | undefined;
  private requested: DeviceRequestedError | undefined;
  private isArmed = false;
  private resets = 0;
  /** Of {@link signal}. */
  private stay: AbortController | undefined;
  /** Of {@link waitSignal}. */
  private waits: AbortController | undefined;

  constructor(private readonly io: DeviceIo) {
    io.onPresence?.((event) => this.tell(event));
  }

  /** Calls `listener` at each event. @throws ArgumentError, SysError */
  on(listener: (event: DevicePresence) => void, options: ListenOptions): Subscription {
    this.arm();
    return this.listeners.add(listener, options);
  }

  /** See `PciDevice.signal`. */
  get signal(): AbortSignal {
    if (this.stay === undefined) {
      const { io } = this;
      this.stay = new AbortController();
      const reason = io.lease.closed ? new ClosedError(io.lease.label) : (this.gone ?? this.requested);
      if (reason !== undefined) this.stay.abort(reason);
      else {
        new Lease(`signal of ${io.lease.label}`, ending(new WeakRef(this)), io.lease);
        this.arm();
      }
    }
    return this.stay.signal;
  }

  /**
   * Ends a wait that begins now, when the device goes or is requested back. A wait that begins after the request ends only when
   * the device goes, so that a driver can still stop it.
   */
  get waitSignal(): AbortSignal {
    if (this.gone !== undefined) return AbortSignal.abort(this.gone);
    this.waits ??= new AbortController();
    this.arm();
    return this.waits.signal;
  }

  /** Whether the function no longer answers. If so, all waits end. @throws ClosedError, SysError */
  isGone(): boolean {
    // A function may not answer while it is reset.
    if (this.gone === undefined && this.resets > 0) return this.readsAllOnes();
    if (this.gone === undefined && this.readsAllOnes()) {
      const error = new DeviceGoneError(this.io.lease.label);
      // Not during this access.
      queueMicrotask(() => this.tell({ kind: "gone", error, retrying: false }));
      return true;
    }
    return this.gone !== undefined;
  }

  /** Calls `reset`, during which all ones don't mean that the device has gone. */
  async resetting(reset: () => Promise<void>): Promise<void> {
    this.resets++;
    try {
      await reset();
    } finally {
      this.resets--;
    }
  }

  /** The device has closed. */
  close(): void {
    this.stay?.abort(new ClosedError(this.io.lease.label));
  }

  /** The kernel requests the device back, which it repeats every few seconds. */
  request(): void {
    const error = new DeviceRequestedError(this.io.lease.label);
    this.tell({ kind: "requested", error });
    // It may be the removal of a device that has gone already.
    if (!this.io.lease.closed) this.isGone();
  }

  /** The bus reports an error. */
  fail(): void {
    this.tell({ kind: "error" });
  }

  private tell(event: DevicePresence): void {
    switch (event.kind) {
      case "gone":
      case "lost": {
        if (this.gone !== undefined && event.kind === "gone") return;
        const { error } = event;
        noteError(this.io.lease.label, error);
        this.gone =
          error instanceof DeviceGoneError
            ? error
            : new DeviceGoneError(this.io.lease.label, undefined, { cause: error });
        this.endWaits(this.gone);
        break;
      }
      case "requested":
        if (this.requested === undefined) {
          noteError(this.io.lease.label, event.error);
          this.endWaits(event.error);
        }
        this.requested ??= event.error;
        break;
      case "back":
        this.gone = undefined;
        this.requested = undefined;
        this.stay = undefined;
        break;
      case "error":
        noteError(this.io.lease.label, "the bus reports an error");
    }
    this.listeners.call(event, () => this.io.lease.closed);
  }

  private endWaits(reason: Error): void {
    const { waits } = this;
    this.waits = undefined;
    waits?.abort(reason);
    this.stay?.abort(reason);
  }

  private readsAllOnes(): boolean {
    const bytes = new Uint8Array(4);
    try {
      this.io.readRegion(VFIO_PCI_CONFIG_REGION_INDEX, REVISION_AND_CLASS, bytes);
    } catch (error) {
      if (error instanceof DeviceGoneError) return true;
      throw error;
    }
    return bytes.every((byte) => byte === ALL_ONES);
  }

  /** Listens to the kernel's notices from now on. */
  private arm(): void {
    if (this.isArmed) return;
    this.isArmed = true;
    const self = new WeakRef(this);
    try {
      listen(this.io, VFIO_PCI_REQ_IRQ_INDEX, () => self.deref()?.request());
      listen(this.io, VFIO_PCI_ERR_IRQ_INDEX, () => self.deref()?.fail());
    } catch (error) {
      if (!(error instanceof DeviceGoneError)) throw error;
    }
  }
}

/** Not a closure of the class: a lease must not keep what users hold. */
function ending(presence: WeakRef<Presence>): () => void {
  return () => presence.deref()?.close();
}

/** Calls `onNotice` at each notice of this interrupt index, if the device has it. */
function listen(io: DeviceIo, index: number, onNotice: () => void): void {
  if (!hasNotice(io, index)) return;
  const eventfd = new EventFd(`notices ${index} of ${io.lease.label}`);
  try {
    eventfd.lease.dependOn(io.lease);
    eventfd.watch(onNotice).unref();
    io.setIrqEventfds(index, 0, [eventfd.fd]);
  } catch (error) {
    eventfd.close();
    throw error;
  }
  eventfd.relinquish();
}

function hasNotice(io: DeviceIo, index: number): boolean {
  if (io.info().numIrqs <= index) return false;
  try {
    const { count, eventfd } = io.irqInfo(index);
    return count > 0 && eventfd;
  } catch (error) {
    // Functions without PCI Express report no errors of the bus.
    if (error instanceof ArgumentError) return false;
    throw error;
  }
}
