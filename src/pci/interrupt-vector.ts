/** One interrupt vector of a PCI function: an eventfd, with the ways to wait for it. */
import { countInterrupts } from "../activity/page.js";
import { checkFunction, checkInteger, checkKeys, MAX_TIMER_MS } from "../core/check.js";
import { ClosedError, DeviceGoneError, TimeoutError, UnsupportedError } from "../core/errors.js";
import type { ListenOptions } from "../core/listeners.js";
import { EventStream } from "../sys/event-stream.js";
import { EventFd } from "../sys/eventfd.js";
import type { Watch } from "../sys/watch.js";
import type { DeviceIo } from "../vfio/device-io.js";
import { VFIO_PCI_INTX_IRQ_INDEX } from "../vfio/uapi.js";
import { ConfigSpace } from "./config-space.js";
import { presenceOf } from "./presence.js";

const NO_BUS_MASTER =
  "the device isn't bus master, and sends no MSI or MSI-X: set device.config.busMaster = true";

const DISABLED =
  "Interrupt Disable is set in the device's command register: set device.config.interruptDisable = false";

/** Options of {@link InterruptVector.once}. */
export interface InterruptWaitOptions extends ListenOptions {
  /** The limit in milliseconds; none by default. */
  readonly timeoutMs?: number | undefined;
}

/**
 * An enabled vector. The kernel counts its interrupts until they are delivered, so none is lost between two waits, and a flood is
 * one large count. One listener, iteration or {@link once} uses it at a time.
 *
 * The kernel masks INTx at each interrupt. It is unmasked after the listener, with the next turn of an iteration, and when the next
 * wait begins; the device must have been made to deassert it by then.
 */
export class InterruptVector extends EventFd {
  /** An INTx was delivered: the kernel keeps it masked. */
  private isHeld = false;
  private isMasked = false;

  /** @internal */
  constructor(
    private readonly io: DeviceIo,
    private readonly irq: number,
    /** Number of the vector. */
    readonly index: number,
    private readonly label: string,
  ) {
    super(label);
  }

  /**
   * Calls `listener` from the event loop with the count of interrupts since the last call, until the returned watch or the
   * interrupts are closed.
   * @throws ArgumentError, ClosedError, BusyError if the vector is waited for already
   */
  override watch(listener: (count: number) => void, options: ListenOptions = {}): Watch {
    checkFunction("listener", listener);
    if (this.irq !== VFIO_PCI_INTX_IRQ_INDEX) {
      return super.watch((count) => {
        countInterrupts(count);
        listener(count);
      }, options);
    }
    const watch = super.watch((count) => {
      countInterrupts(count);
      this.isHeld = true;
      try {
        listener(count);
      } finally {
        this.release();
      }
    }, options);
    this.release();
    return watch;
  }

  override take(): number {
    const count = super.take();
    countInterrupts(count);
    return count;
  }

  /**
   * Waits for an interrupt; one that nothing has taken yet counts.
   * @returns how many there were
   * @throws as a rejection: ArgumentError, BusyError (waited for already), TimeoutError, the signal's reason, DeviceGoneError,
   *   DeviceRequestedError, ClosedError if the interrupts are closed
   */
  async once(options: InterruptWaitOptions = {}): Promise<number> {
    checkKeys("options", options, ["timeoutMs", "signal"]);
    const { timeoutMs, signal } = options;
    this.lease.assertOpen();
    const limit = new AbortController();
    const end = (after: number): void => {
      // The event loop runs timers before it looks at descriptors.
      stream.look();
      limit.abort(this.late(after));
    };
    const stream = this.stream({ signal }, [limit.signal]);
    const timer =
      timeoutMs === undefined
        ? undefined
        : setTimeout(() => end(timeoutMs), checkInteger("timeoutMs", timeoutMs, 0, MAX_TIMER_MS));
    try {
      const { value, done } = await stream.next();
      if (done === true) throw new ClosedError(this.label);
      return value;
    } finally {
      clearTimeout(timer);
    }
  }

  /** {@link values}, for `for await`. */
  [Symbol.asyncIterator](): AsyncIterableIterator<number> {
    return this.values();
  }

  /**
   * Iterates over the interrupts: each value is their count since the last turn. Ends when the interrupts close.
   * @throws ArgumentError, ClosedError; in the iteration BusyError (waited for already), the signal's reason, DeviceGoneError,
   *   DeviceRequestedError
   */
  values(options: ListenOptions = {}): AsyncIterableIterator<number> {
    this.lease.assertOpen();
    return this.stream(options, []);
  }

  /**
   * Masks the vector: an interrupt is delivered after {@link unmask}. Linux masks INTx only.
   * @throws UnsupportedError, ClosedError, SysError
   */
  mask(): void {
    this.assertMaskable();
    this.io.actOnIrq(this.irq, "mask", this.index, 1);
    this.isMasked = true;
  }

  /** Ends {@link mask}, or the kernel's own mask after an INTx. @throws as mask() */
  unmask(): void {
    this.assertMaskable();
    this.isMasked = false;
    this.isHeld = false;
    this.io.actOnIrq(this.irq, "unmask", this.index, 1);
  }

  /** Makes the kernel signal the vector, to test what waits for it. @throws ClosedError, SysError */
  trigger(): void {
    this.lease.assertOpen();
    this.io.actOnIrq(this.irq, "trigger", this.index, 1);
  }

  private stream(options: ListenOptions, ends: readonly AbortSignal[]): EventStream<number> {
    const take = (): number[] => {
      this.release();
      const count = this.take();
      if (count === 0) return [];
      this.isHeld = this.irq === VFIO_PCI_INTX_IRQ_INDEX;
      return [count];
    };
    return new EventStream(this.fd, this.lease, take, options, () => [
      ...ends,
      presenceOf(this.io).waitSignal,
    ]);
  }

  /** Lets the next INTx come. */
  private release(): void {
    if (!this.isHeld || this.isMasked || this.closed) return;
    this.isHeld = false;
    try {
      this.io.actOnIrq(this.irq, "unmask", this.index, 1);
    } catch (error) {
      // The device's presence tells that it has gone.
      if (!(error instanceof DeviceGoneError)) throw error;
    }
  }

  /** Why there was no interrupt in time. */
  private late(timeoutMs: number): unknown {
    try {
      if (presenceOf(this.io).isGone()) return new DeviceGoneError(this.io.lease.label);
      const config = new ConfigSpace(this.io);
      let hint: string | undefined;
      if (this.irq !== VFIO_PCI_INTX_IRQ_INDEX) hint = config.busMaster ? undefined : NO_BUS_MASTER;
      else if (config.interruptDisable) hint = DISABLED;
      return new TimeoutError(`an interrupt of ${this.label}`, timeoutMs, { hint });
    } catch (error) {
      return error;
    }
  }

  private assertMaskable(): void {
    this.lease.assertOpen();
    if (this.io.irqInfo(this.irq).maskable) return;
    throw new UnsupportedError(
      `${this.label} can't be masked: only INTx can. Disable the interrupt in the device's registers`,
    );
  }
}
