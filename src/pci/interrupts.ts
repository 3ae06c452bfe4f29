/** The interrupts of a PCI function: MSI-X, MSI or INTx, each vector as an eventfd. */
import { checkInteger, checkKeys, show } from "../core/check.js";
import { ArgumentError, BusyError, UnsupportedError } from "../core/errors.js";
import { closeAll } from "../core/lifetime/close-all.js";
import type { Lease } from "../core/lifetime/lease.js";
import { Resource } from "../core/lifetime/resource.js";
import type { ListenOptions } from "../core/listeners.js";
import type { Watch } from "../sys/watch.js";
import { irqOrNone } from "../vfio/capabilities.js";
import { checkDeviceIo, type DeviceIo, MAX_VECTORS } from "../vfio/device-io.js";
import { VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX } from "../vfio/uapi.js";
import { InterruptVector, type InterruptWaitOptions } from "./interrupt-vector.js";

/** The ways a PCI function can interrupt, best first. */
export type InterruptKind = "msix" | "msi" | "intx";

const irqIndex: Readonly<Record<InterruptKind, number>> = {
  msix: VFIO_PCI_MSIX_IRQ_INDEX,
  msi: VFIO_PCI_MSI_IRQ_INDEX,
  intx: VFIO_PCI_INTX_IRQ_INDEX,
};
const bestFirst: readonly InterruptKind[] = ["msix", "msi", "intx"];

/** The interrupts that are enabled: VFIO replaces eventfds without a word, and the first user would wait for ever. */
const enabled = new WeakMap<DeviceIo, Lease>();

/** @throws BusyError */
function assertNoneEnabled(io: DeviceIo): void {
  const other = enabled.get(io);
  if (other === undefined || other.closed) return;
  throw new BusyError(
    `${other.label} are enabled already: close them first, or add vectors to them by grow()`,
  );
}

/** How many vectors of each kind a function has. */
export function interruptCounts(io: DeviceIo): Record<InterruptKind, number> {
  const count = (kind: InterruptKind): number => irqOrNone(io, irqIndex[kind]).count;
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
  readonly vectors: readonly InterruptVector[];
  private readonly own: InterruptVector[];
  /** Of the vectors. */
  private readonly leases: Lease[];

  /** @throws ArgumentError, UnsupportedError if the function lacks that kind, BusyError if interrupts are enabled already, SysError */
  constructor(
    private readonly io: DeviceIo,
    options: InterruptOptions = {},
  ) {
    checkDeviceIo(io);
    checkKeys("options", options, ["kind", "count"]);
    const wanted = checkInteger("count", options.count ?? 1, 1, MAX_VECTORS);
    const counts = interruptCounts(io);
    const kind = options.kind ?? bestFirst.find((candidate) => counts[candidate] > 0);
    if (kind !== undefined && !bestFirst.includes(kind)) {
      throw new ArgumentError(`kind must be one of ${bestFirst.join(", ")}, got ${show(kind)}`);
    }
    if (kind === undefined || counts[kind] === 0) {
      throw new UnsupportedError(`${io.lease.label} has no ${options.kind ?? "interrupts"}`);
    }
    assertNoneEnabled(io);
    const vectors = makeVectors(io, kind, 0, Math.min(wanted, counts[kind]));
    const leases: Lease[] = [];
    super({
      label: `${kind} interrupts of ${io.lease.label}`,
      release: releasing(io, irqIndex[kind], leases),
      parents: [io],
    });
    enabled.set(io, this.lease);
    this.kind = kind;
    this.leases = leases;
    this.own = [];
    this.vectors = this.own;
    this.adopt(vectors);
  }

  /**
   * Adds vectors, of which there are `count` then; the function may have fewer. Those that are there keep working.
   * @throws ArgumentError, UnsupportedError if the kernel can't: it takes MSI-X, and Linux 6.5 with interrupt remapping; SysError
   */
  grow(count: number): void {
    this.lease.assertOpen();
    checkInteger("count", count, 1, MAX_VECTORS);
    const { io, kind, vectors } = this;
    const info = io.irqInfo(irqIndex[kind]);
    const added = Math.min(count, info.count) - vectors.length;
    if (added <= 0) return;
    if (info.noResize) {
      throw new UnsupportedError(
        `${this.lease.label} can't grow beyond ${vectors.length}: enable as many as needed at once`,
      );
    }
    this.adopt(makeVectors(io, kind, vectors.length, added));
  }

  /**
   * {@link InterruptVector.watch} of a vector by its number.
   * @throws ArgumentError, BusyError if the vector is watched already
   */
  watch(vector: number, listener: (count: number) => void, options: ListenOptions = {}): Watch {
    return this.vector(vector).watch(listener, options);
  }

  /**
   * {@link InterruptVector.once} of a vector by its number.
   * @throws as a rejection: ArgumentError if there is no such vector, and as InterruptVector.once()
   */
  async once(vector: number, options: InterruptWaitOptions = {}): Promise<number> {
    return await this.vector(vector).once(options);
  }

  /** Makes the kernel signal a vector, to test that the listener is called. */
  trigger(vector: number): void {
    this.lease.assertOpen();
    this.io.actOnIrq(irqIndex[this.kind], "trigger", vector, 1);
  }

  private vector(number: number): InterruptVector {
    const found = this.vectors[checkInteger("vector", number, 0, 0xffff)];
    if (found !== undefined) return found;
    throw new ArgumentError(`there is no vector ${number}: ${this.vectors.length} are enabled`);
  }

  private adopt(vectors: readonly InterruptVector[]): void {
    for (const vector of vectors) {
      this.leases.push(vector.relinquish());
      this.own.push(vector);
      this.retain(vector);
      // A watch of one vector keeps all enabled.
      vector.retain(this);
    }
  }
}

/** Makes vectors and enables them. */
function makeVectors(io: DeviceIo, kind: InterruptKind, start: number, count: number): InterruptVector[] {
  const vectors: InterruptVector[] = [];
  const index = irqIndex[kind];
  try {
    for (let i = start; i < start + count; i++) {
      vectors.push(new InterruptVector(io, index, i, `${kind} vector ${i} of ${io.lease.label}`));
    }
    io.setIrqEventfds(
      index,
      start,
      vectors.map(({ fd }) => fd),
    );
    return vectors;
  } catch (error) {
    closeAll(vectors, "closing eventfds");
    throw error;
  }
}

/** Not a closure of the constructor: a lease must not keep what users hold. */
function releasing(io: DeviceIo, index: number, leases: readonly Lease[]): () => void {
  return () => closeAll([{ close: () => io.disableIrq(index) }, ...leases], "closing interrupts");
}
