/** Watches whether the device is still there, and whether its removal was requested. */
import type { Subscription } from "../../core/listeners.js";
import type { PciDevice } from "../../pci/device.js";
import { EventFd } from "../../sys/eventfd.js";
import { VFIO_PCI_REQ_IRQ_INDEX } from "../../vfio/uapi.js";

/** Receives the events of {@link Presence}. */
export interface PresenceEvents {
  /** The device doesn't answer any more. */
  gone(error: Error): void;
  /** The kernel requests the device back, because it is being removed. It may be gone already. */
  removal(): void;
}

/** Tracks the presence of a device through events. It never polls. */
export class Presence {
  /** Why the device is gone. */
  private error: Error | undefined;
  /** The device may come back. */
  private isExpected = false;
  private readonly waiting = new Set<() => void>();
  private readonly subscription: Subscription;
  private readonly request: EventFd | undefined;

  /** @throws SysError */
  constructor(
    private readonly device: PciDevice,
    events: PresenceEvents,
  ) {
    this.request = watchRequests(device, () => events.removal());
    this.subscription = device.onPresence((event) => {
      if (event.kind === "gone") {
        this.error = event.error;
        this.isExpected = event.retrying;
        events.gone(event.error);
        return;
      }
      this.error = event.kind === "back" ? undefined : event.error;
      this.isExpected = false;
      for (const wake of [...this.waiting]) wake();
    });
  }

  /**
   * Waits until the device is present.
   * @throws why it is gone if it isn't expected back, the signal's reason
   */
  async whenHere(signal: AbortSignal): Promise<void> {
    while (this.error !== undefined) {
      if (!this.isExpected) throw this.error;
      signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.waiting.delete(wake);
          signal.removeEventListener("abort", wake);
          resolve();
        };
        this.waiting.add(wake);
        signal.addEventListener("abort", wake);
      });
    }
  }

  close(): void {
    this.subscription.close();
    if (this.request === undefined) return;
    try {
      if (!this.device.closed) this.device.io.setIrqEventfds(VFIO_PCI_REQ_IRQ_INDEX, 0, [-1]);
    } catch {
      // The kernel releases it with the device.
    }
    this.request.close();
  }
}

/** Calls `onRequest` when the kernel requests the device back (VFIO_PCI_REQ_IRQ_INDEX). */
function watchRequests(device: PciDevice, onRequest: () => void): EventFd | undefined {
  const { io } = device;
  if (io.info().numIrqs <= VFIO_PCI_REQ_IRQ_INDEX) return undefined;
  const { count, eventfd } = io.irqInfo(VFIO_PCI_REQ_IRQ_INDEX);
  if (count === 0 || !eventfd) return undefined;
  const signal = new EventFd(`removal request for ${device.bdf}`);
  try {
    signal.lease.dependOn(io.lease);
    signal.watch(onRequest).unref();
    io.setIrqEventfds(VFIO_PCI_REQ_IRQ_INDEX, 0, [signal.fd]);
  } catch (error) {
    signal.close();
    throw error;
  }
  signal.relinquish();
  return signal;
}
