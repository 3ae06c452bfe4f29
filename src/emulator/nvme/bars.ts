/** The BARs of the controller: registers and doorbells, the controller memory buffer, and the MSI-X table. */
import { AsyncEventInfo } from "../../nvme/spec/opcodes.js";
import { DOORBELL_BASE } from "../../nvme/spec/registers.js";
import { PAGE_SIZE } from "../../sys/syscalls.js";
import type { EmulatedBar } from "../../vfio-user/server/emulated-device.js";
import { MSIX_BAR } from "./config-space.js";
import type { QueueSet } from "./queues/queue-set.js";
import { CMB_BAR, type Registers } from "./queues/registers.js";
import type { SharedPage } from "./shared-page.js";

export const DOORBELL_BYTES = 4096;
const BAR0_BYTES = 8192;
/** Doorbell values have 16 bits; the rest is reserved. */
const U16_MASK = 0xffff;

/** What the BARs show. */
export interface BarParts {
  readonly registers: Registers;
  readonly queues: QueueSet;
  readonly doorbells: SharedPage;
  /** Clients map the doorbells, instead of sending a message for each write. */
  readonly doorbellsAreShared: boolean;
  readonly cmb: SharedPage | undefined;
  /** The MSI-X table and its pending bits; undefined for a controller without MSI-X. */
  readonly msix: Uint8Array | undefined;
  /** A doorbell of no queue was written. @param info of the event */
  invalidDoorbell(info: number): void;
  /** A register or a doorbell was written. */
  written(): void;
}

/** @returns the BARs by index */
export function makeBars(parts: BarParts): readonly (EmulatedBar | undefined)[] {
  const { registers, doorbells, cmb, msix } = parts;
  const doorbellBytes = doorbells.memory.bytes;
  const bars: (EmulatedBar | undefined)[] = new Array(6).fill(undefined);
  bars[0] = {
    sizeBytes: BAR0_BYTES,
    is64Bit: true,
    mappable: parts.doorbellsAreShared
      ? [{ offset: DOORBELL_BASE, sizeBytes: DOORBELL_BYTES, fd: doorbells.fd, fdOffset: DOORBELL_BASE }]
      : [],
    read: (offset, target) => {
      if (offset < DOORBELL_BASE || registers.allOnes) registers.read(offset, target);
      else target.set(doorbellBytes.subarray(offset - DOORBELL_BASE, offset - DOORBELL_BASE + target.length));
    },
    write: (offset, source) => {
      if (offset < DOORBELL_BASE) registers.write(offset, source);
      else writeDoorbell(parts, offset - DOORBELL_BASE, source);
      parts.written();
    },
  };
  if (cmb !== undefined) bars[CMB_BAR] = memoryBar(cmb.memory.bytes, cmb.fd);
  if (msix !== undefined) bars[MSIX_BAR] = memoryBar(msix, undefined);
  return bars;
}

/** Writes a doorbell by message. Unlike a store to shared memory, the controller sees when no queue has this doorbell. */
function writeDoorbell(parts: BarParts, offset: number, source: Uint8Array): void {
  const { registers, queues, doorbells } = parts;
  if (registers.allOnes || source.length !== 4 || offset % 4 !== 0) return;
  const index = offset / 4;
  if (!queues.hasDoorbell(index)) {
    parts.invalidDoorbell(AsyncEventInfo.error.invalidDoorbellRegister);
    return;
  }
  const value = new DataView(source.buffer, source.byteOffset, 4).getUint32(0, true);
  doorbells.memory.words[index] = value & U16_MASK;
}

/** A BAR that is plain memory. */
function memoryBar(bytes: Uint8Array, fd: number | undefined): EmulatedBar {
  return {
    sizeBytes: bytes.length,
    is64Bit: fd !== undefined,
    isPrefetchable: fd !== undefined,
    mappable:
      fd !== undefined && bytes.length % PAGE_SIZE === 0
        ? [{ offset: 0, sizeBytes: bytes.length, fd, fdOffset: 0 }]
        : [],
    read: (offset, target) => target.set(bytes.subarray(offset, offset + target.length)),
    write: (offset, source) => bytes.set(source, offset),
  };
}
