/** Watches whether the device is still there, and whether its removal was requested. */
import { addAbortListener, type Subscription } from "../../core/listeners.js";
import type { PciDevice } from "../../pci/device.js";

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

  /** @throws SysError */
  constructor(device: PciDevice, events: PresenceEvents) {
    this.subscription = device.onPresence((event) => {
      switch (event.kind) {
        case "gone":
          this.error = event.error;
          this.isExpected = event.retrying;
          events.gone(event.error);
          return;
        case "requested":
          events.removal();
          return;
        case "back":
        case "lost":
          this.error = event.kind === "back" ? undefined : event.error;
          this.isExpected = false;
          for (const wake of [...this.waiting]) wake();
      }
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
        addAbortListener(signal, wake);
      });
    }
  }

  close(): void {
    this.subscription.close();
  }
}
