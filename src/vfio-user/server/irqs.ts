/** The interrupts of one kind of a served device. */
import { Errno } from "../../core/errno.js";
import { isEventfd } from "../../sys/eventfd.js";
import { close } from "../../sys/syscalls.js";
import {
  VFIO_IRQ_INFO_AUTOMASKED,
  VFIO_IRQ_INFO_EVENTFD,
  VFIO_IRQ_INFO_MASKABLE,
  VFIO_IRQ_INFO_NORESIZE,
  VFIO_IRQ_SET_ACTION_MASK,
  VFIO_IRQ_SET_ACTION_TRIGGER,
  VFIO_IRQ_SET_ACTION_TYPE_MASK,
  VFIO_IRQ_SET_ACTION_UNMASK,
  VFIO_IRQ_SET_DATA_BOOL,
  VFIO_IRQ_SET_DATA_EVENTFD,
  VFIO_IRQ_SET_DATA_NONE,
  VFIO_IRQ_SET_DATA_TYPE_MASK,
  VFIO_PCI_INTX_IRQ_INDEX,
} from "../../vfio/uapi.js";
import { Refusal } from "./refusal.js";

/** Interrupts of one kind: an eventfd per vector, where the client gave one. */
export class ServerIrqs {
  private readonly fds: (number | undefined)[];
  private readonly masked: boolean[];
  private readonly pending: boolean[];

  /** @param signal signals an eventfd of the client's, which must never block */
  constructor(
    readonly index: number,
    readonly count: number,
    private readonly signal: (fd: number) => void,
  ) {
    this.fds = new Array<number | undefined>(count).fill(undefined);
    this.masked = new Array<boolean>(count).fill(false);
    this.pending = new Array<boolean>(count).fill(false);
  }

  /** VFIO_IRQ_INFO_*. */
  get flags(): number {
    if (this.count === 0) return 0;
    return this.index === VFIO_PCI_INTX_IRQ_INDEX
      ? VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED
      : VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE;
  }

  /** Signals a vector. Does nothing without an eventfd. */
  raise(vector: number): void {
    const fd = this.fds[vector];
    if (fd === undefined) return;
    if (this.masked[vector] === true) {
      this.pending[vector] = true;
      return;
    }
    // As the kernel does with INTx: no second signal before somebody has quieted the device.
    if (this.index === VFIO_PCI_INTX_IRQ_INDEX) this.masked[vector] = true;
    this.signal(fd);
  }

  /**
   * VFIO_DEVICE_SET_IRQS as the kernel has it.
   * @param fds of the message; those that are kept are taken out of the list
   * @throws Refusal
   */
  set(flags: number, start: number, count: number, data: Uint8Array, fds: number[]): void {
    if (start > this.count || count > this.count - start) throw new Refusal(Errno.EINVAL);
    const vectors = Array.from({ length: count }, (_, i) => start + i);
    const type = flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
    switch (flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) {
      case VFIO_IRQ_SET_ACTION_TRIGGER:
        if (type === VFIO_IRQ_SET_DATA_EVENTFD) this.setEventfds(vectors, fds);
        else if (type === VFIO_IRQ_SET_DATA_NONE && count === 0) this.clear();
        else for (const vector of chosen(vectors, type, data)) this.raise(vector);
        return;
      case VFIO_IRQ_SET_ACTION_MASK:
        for (const vector of chosen(vectors, type, data)) this.masked[vector] = true;
        return;
      case VFIO_IRQ_SET_ACTION_UNMASK:
        for (const vector of chosen(vectors, type, data)) {
          this.masked[vector] = false;
          if (this.pending[vector] !== true) continue;
          this.pending[vector] = false;
          this.raise(vector);
        }
        return;
      default:
        throw new Refusal(Errno.EINVAL);
    }
  }

  /** Ends the notifications. */
  clear(): void {
    this.fds.forEach((fd, vector) => {
      if (fd !== undefined) close(fd);
      this.fds[vector] = undefined;
      this.masked[vector] = false;
      this.pending[vector] = false;
    });
  }

  private setEventfds(vectors: readonly number[], fds: number[]): void {
    // Fewer than vectors: the rest is taken away, which JSON and -1 can't say over a socket.
    if (fds.length > vectors.length || !fds.every(isEventfd)) throw new Refusal(Errno.EINVAL);
    for (const vector of vectors) {
      const old = this.fds[vector];
      if (old !== undefined) close(old);
      this.fds[vector] = fds.shift();
      this.masked[vector] = false;
      this.pending[vector] = false;
    }
  }
}

function chosen(vectors: readonly number[], type: number, data: Uint8Array): readonly number[] {
  if (type === VFIO_IRQ_SET_DATA_NONE) return vectors;
  if (type !== VFIO_IRQ_SET_DATA_BOOL || data.length < vectors.length) throw new Refusal(Errno.EINVAL);
  return vectors.filter((_, i) => data[i] !== 0);
}
