/**
 * The interrupts of an emulated function, as strict as hardware: a message leaves only where the driver enabled messages in
 * configuration space and made the function bus master, a masked vector becomes a pending bit, and the pin is for drivers
 * that enabled neither MSI nor MSI-X (PCI Local Bus 3.0, 6.8).
 */
import { MSIX_ENTRY_BYTES } from "../../vfio/message-interrupts.js";
import { VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX } from "../../vfio/uapi.js";
import { readBar, writeBar } from "./bar-access.js";
import type { EmulatedConfigSpace } from "./config-space.js";
import type { EmulatedDevice } from "./emulated-device.js";
import { ServerIrqs } from "./irqs.js";

/** Offset in an entry of the MSI-X table. Bit 0 masks the vector. */
const VECTOR_CONTROL = 12;
const MASKED = 1;

const irqIndex = {
  intx: VFIO_PCI_INTX_IRQ_INDEX,
  msi: VFIO_PCI_MSI_IRQ_INDEX,
  msix: VFIO_PCI_MSIX_IRQ_INDEX,
} as const;

export type EmulatedInterrupt = keyof typeof irqIndex;

/** All interrupts of one function, for one client. */
export class ServerInterrupts {
  /** By VFIO's interrupt index: INTx, MSI, MSI-X, error, request. */
  private readonly irqs: readonly ServerIrqs[];
  /** Vectors whose message waits for a mask to be cleared. */
  private readonly pending = new Set<number>();
  /** The pin was asserted while the command register forbade it. */
  private pinWaits = false;
  /** Masked vectors as the table has them; undefined if it may have changed. */
  private masks: readonly boolean[] | undefined;

  /** @param signal signals an eventfd of the client's, which must never block */
  constructor(
    private readonly device: EmulatedDevice,
    private readonly config: EmulatedConfigSpace,
    signal: (fd: number) => void,
  ) {
    const { intx, msi, msix } = device.vectors;
    this.irqs = [intx, msi, msix, 0, 0].map((count, index) => new ServerIrqs(index, count, signal));
  }

  /** @returns undefined if VFIO has no such index */
  at(index: number): ServerIrqs | undefined {
    return this.irqs[index];
  }

  /** The device wants to interrupt. What it may not send now and has nowhere to keep is lost, as in hardware. */
  raise(vector: number, kind: EmulatedInterrupt): void {
    const { config } = this;
    switch (kind) {
      case "msix":
        if (!config.msixEnabled || !config.busMaster) return;
        if (config.msixMasked || this.isMasked(vector)) this.setPending(vector, true);
        else this.irqs[irqIndex.msix]?.raise(vector);
        return;
      case "msi":
        // A driver that enabled fewer vectors than there are gets what it has for all of them.
        if (config.msiVectors > 0 && config.busMaster)
          this.irqs[irqIndex.msi]?.raise(vector % config.msiVectors);
        return;
      case "intx":
        if (config.msixEnabled || config.msiVectors > 0) return;
        if (config.interruptDisabled) this.pinWaits = true;
        else this.irqs[irqIndex.intx]?.raise(vector);
    }
  }

  /** Configuration space was written: sends what waited for that. */
  configWritten(): void {
    const { config } = this;
    if (this.pinWaits && !config.interruptDisabled) {
      this.pinWaits = false;
      this.raise(0, "intx");
    }
    if (this.pending.size > 0 && !config.msixMasked) this.sendPending();
  }

  /** A BAR was written: sends what waited for a mask bit of the MSI-X table there. */
  barWritten(index: number): void {
    if (index !== this.config.msix?.table.bar) return;
    this.masks = undefined;
    if (this.pending.size > 0 && !this.config.msixMasked) this.sendPending();
  }

  /** The table may have changed other than by a client's write. */
  tableChanged(): void {
    this.masks = undefined;
  }

  /** Whether a write would reach the pending bits of MSI-X, which are read-only. */
  isReadOnly(index: number, offset: number, length: number): boolean {
    const { msix } = this.config;
    if (msix === undefined || index !== msix.pendingBits.bar) return false;
    const { offset: first } = msix.pendingBits;
    return offset < first + 8 * Math.ceil(msix.vectors / 64) && first < offset + length;
  }

  /** The client is gone, or the function was reset. */
  clear(): void {
    for (const irqs of this.irqs) irqs.clear();
    this.forget();
  }

  /** A reset takes back what waits; the eventfds stay. */
  forget(): void {
    this.masks = undefined;
    for (const vector of [...this.pending]) this.setPending(vector, false);
    this.pinWaits = false;
  }

  private sendPending(): void {
    for (const vector of [...this.pending]) {
      if (this.isMasked(vector)) continue;
      this.setPending(vector, false);
      this.raise(vector, "msix");
    }
  }

  private isMasked(vector: number): boolean {
    this.masks ??= this.readMasks();
    return this.masks[vector] === true;
  }

  private readMasks(): boolean[] {
    const { msix } = this.config;
    const bar = msix === undefined ? undefined : this.device.bars[msix.table.bar];
    if (msix === undefined || bar === undefined) return [];
    return Array.from({ length: msix.vectors }, (_, vector) => {
      const control = new Uint8Array(4);
      readBar(bar, msix.table.offset + MSIX_ENTRY_BYTES * vector + VECTOR_CONTROL, control);
      return ((control[0] ?? 0) & MASKED) !== 0;
    });
  }

  private setPending(vector: number, isPending: boolean): void {
    if (isPending) this.pending.add(vector);
    else this.pending.delete(vector);
    const { msix } = this.config;
    const bar = msix === undefined ? undefined : this.device.bars[msix.pendingBits.bar];
    if (msix === undefined || bar === undefined) return;
    const at = msix.pendingBits.offset + 4 * (vector >> 5);
    const bits = new Uint8Array(4);
    readBar(bar, at, bits);
    const view = new DataView(bits.buffer);
    const bit = 1 << (vector & 31);
    const before = view.getUint32(0, true);
    view.setUint32(0, (isPending ? before | bit : before & ~bit) >>> 0, true);
    writeBar(bar, at, bits);
  }
}
