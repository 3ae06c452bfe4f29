/** Watches whether the device is still there, and whether its removal was requested. */
import type { Subscription } from "../../core/listeners.js";
import type { PciDevice } from "../../pci/device.js";
import { EventFd } from "../../sys/eventfd.js";
import { VFIO_PCI_REQ_IRQ_INDEX } from "../../vfio/uapi.js";

/** What is told of a device's coming and going. */
export interface PresenceEvents {
  /** Nothing of it answers any more. */
  gone(error: Error): void;
  /** The kernel wants it back: it is being removed, and may be gone already. */
  removal(): void;
}

/** Whether the device is there, as far as anybody tells: costs nothing meanwhile. */
export class Presence {
  /** Why it is away. */
  private error: Error | undefined;
  /** It may come back. */
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
   * Waits for a device that is expected back.
   * @throws why it is away where it isn't, the signal's reason
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
      // It ends with the device.
    }
    this.request.close();
  }
}

/** The kernel's request to give a device back (VFIO_PCI_REQ_IRQ_INDEX). */
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
