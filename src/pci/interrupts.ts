/** The interrupts of a PCI function: MSI-X, MSI or INTx, each vector as an eventfd. */
import { checkFunction, checkInteger, checkObject, show } from "../core/check.js";
import { ArgumentError, UnsupportedError } from "../core/errors.js";
import { closeAll } from "../core/lifetime/close-all.js";
import { Resource } from "../core/lifetime/resource.js";
import type { ListenOptions } from "../core/listeners.js";
import { EventFd } from "../sys/eventfd.js";
import type { Watch } from "../sys/watch.js";
import { type DeviceIo, MAX_VECTORS } from "../vfio/device-io.js";
import { VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX } from "../vfio/uapi.js";

/** The ways a PCI function can interrupt, best first. */
export type InterruptKind = "msix" | "msi" | "intx";

const irqIndex: Readonly<Record<InterruptKind, number>> = {
  msix: VFIO_PCI_MSIX_IRQ_INDEX,
  msi: VFIO_PCI_MSI_IRQ_INDEX,
  intx: VFIO_PCI_INTX_IRQ_INDEX,
};
const bestFirst: readonly InterruptKind[] = ["msix", "msi", "intx"];

/** How many vectors of each kind a function has. */
export function interruptCounts(io: DeviceIo): Record<InterruptKind, number> {
  const count = (kind: InterruptKind): number => io.irqInfo(irqIndex[kind]).count;
  return { msix: count("msix"), msi: count("msi"), intx: count("intx") };
}

/** Options of {@link Interrupts}. */
export interface InterruptOptions {
  /** The kind to enable; by default, the best that the function has. */
  readonly kind?: InterruptKind | undefined;
  /** Number of vectors, 1 by default; the function may have fewer. */
  readonly count?: number | undefined;
}

/** Enabled interrupts: one eventfd per vector. Closing switches them off. */
export class Interrupts extends Resource {
  /** The kind that is enabled. */
  readonly kind: InterruptKind;
  /** One per vector. Close this object, not these. */
  readonly vectors: readonly EventFd[];

  /** @throws ArgumentError, UnsupportedError if the function lacks that kind, SysError */
  constructor(
    private readonly io: DeviceIo,
    options: InterruptOptions = {},
  ) {
    checkObject("io", io);
    checkObject("options", options);
    const wanted = checkInteger("count", options.count ?? 1, 1, MAX_VECTORS);
    const counts = interruptCounts(io);
    const kind = options.kind ?? bestFirst.find((candidate) => counts[candidate] > 0);
    if (kind !== undefined && !bestFirst.includes(kind)) {
      throw new ArgumentError(`kind must be one of ${bestFirst.join(", ")}, got ${show(kind)}`);
    }
    if (kind === undefined || counts[kind] === 0) {
      throw new UnsupportedError(`${io.lease.label} has no ${options.kind ?? "interrupts"}`);
    }
    const index = irqIndex[kind];
    const vectors: EventFd[] = [];
    try {
      for (let i = 0; i < Math.min(wanted, counts[kind]); i++) {
        vectors.push(new EventFd(`${kind} vector ${i} of ${io.lease.label}`));
      }
      io.setIrqEventfds(
        index,
        0,
        vectors.map(({ fd }) => fd),
      );
    } catch (error) {
      closeAll(vectors, "closing eventfds");
      throw error;
    }
    super({
      label: `${kind} interrupts of ${io.lease.label}`,
      release: () => io.disableIrq(index),
      parents: [io],
      owns: vectors,
    });
    this.kind = kind;
    this.vectors = vectors;
    // A watch of one vector keeps all enabled.
    for (const vector of vectors) vector.retain(this);
  }

  /**
   * Calls `listener` from the event loop at each interrupt of a vector. The kernel masks INTx at each interrupt. This method
   * unmasks it after the listener, which must make the device deassert it.
   * @throws ArgumentError, BusyError if the vector is watched already
   */
  watch(vector: number, listener: (count: number) => void, options: ListenOptions = {}): Watch {
    const eventfd = this.vectors[vector];
    if (eventfd === undefined)
      throw new ArgumentError(`there is no vector ${show(vector)}: ${this.vectors.length} are enabled`);
    checkFunction("listener", listener);
    if (this.kind !== "intx") return eventfd.watch(listener, options);
    return eventfd.watch((count) => {
      try {
        listener(count);
      } finally {
        if (!this.closed) this.io.actOnIrq(VFIO_PCI_INTX_IRQ_INDEX, "unmask", 0, 1);
      }
    }, options);
  }

  /** Makes the kernel signal a vector, to test that the listener is called. */
  trigger(vector: number): void {
    this.lease.assertOpen();
    this.io.actOnIrq(irqIndex[this.kind], "trigger", vector, 1);
  }
}
