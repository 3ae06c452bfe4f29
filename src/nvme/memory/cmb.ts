/** The controller memory buffer (CMB). */
import { UnsupportedError } from "../../core/errors.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { PciDevice } from "../../pci/device.js";
import type { DeviceAddresses } from "../command/device-addresses.js";
import { NvmeProtocolError } from "../command/error.js";
import { CmbControl, CmbLocation, CmbSize, CmbStatus, NvmeRegister } from "../spec/registers.js";
import { DeviceMemory } from "./device-memory.js";
import type { RegisterAccess } from "./registers.js";

const UNIT_BYTES = 4096;

/** CMBLOC and CMBSZ, decoded. */
export interface CmbProperties {
  /** The BAR that it lies in (BIR). */
  readonly bar: number;
  /** Where it starts in the BAR. */
  readonly offset: number;
  /** Length in bytes. */
  readonly sizeBytes: number;
  /** What may lie in it: submission queues, completion queues, PRP and SGL lists, data to read and to write. */
  readonly submissionQueues: boolean;
  /** Completion queues may lie in it (CQS). */
  readonly completionQueues: boolean;
  /** PRP and SGL lists may lie in it (LISTS). */
  readonly lists: boolean;
  /** Data that the controller writes may lie in it (RDS). */
  readonly reads: boolean;
  /** Data that the controller reads may lie in it (WDS). */
  readonly writes: boolean;
  /** A queue there may lie scattered (CQPDS), and only partly there (CQMMS). */
  readonly scatteredQueues: boolean;
  /** A queue may lie only partly there (CQMMS). */
  readonly mixedQueues: boolean;
  /** Lists of one command may lie only partly there (CDPMLS); and there although their command doesn't (CDPCILS). */
  readonly mixedLists: boolean;
  /** Lists may lie there although their command doesn't (CDPCILS). */
  readonly independentLists: boolean;
  /** Data and metadata of one command may lie only partly there (CDMMMS). */
  readonly mixedData: boolean;
}

/** @param cmbloc as read, `cmbsz` as read; both count in units that CMBSZ says */
export function decodeCmb(cmbloc: number, cmbsz: number): CmbProperties {
  const unit = UNIT_BYTES * 16 ** ((cmbsz >>> CmbSize.SZU_SHIFT) & 0xf);
  const has = (bit: number): boolean => (cmbsz & bit) !== 0;
  return {
    bar: cmbloc & CmbLocation.BIR_MASK,
    offset: (cmbloc >>> CmbLocation.OFST_SHIFT) * unit,
    sizeBytes: (cmbsz >>> CmbSize.SZ_SHIFT) * unit,
    submissionQueues: has(CmbSize.SQS),
    completionQueues: has(CmbSize.CQS),
    lists: has(CmbSize.LISTS),
    reads: has(CmbSize.RDS),
    writes: has(CmbSize.WDS),
    scatteredQueues: (cmbloc & CmbLocation.CQPDS) !== 0,
    mixedQueues: (cmbloc & CmbLocation.CQMMS) !== 0,
    mixedLists: (cmbloc & CmbLocation.CDPMLS) !== 0,
    independentLists: (cmbloc & CmbLocation.CDPCILS) !== 0,
    mixedData: (cmbloc & CmbLocation.CDMMMS) !== 0,
  };
}

/** The controller memory buffer: memory on the controller for queues and data, so that it need not fetch them. */
export class ControllerMemoryBuffer {
  private constructor(
    /** What the controller says of it. */
    readonly properties: CmbProperties,
    private readonly memory: DeviceMemory,
    private readonly bar: RegisterAccess,
    private readonly name: string,
  ) {}

  /**
   * Finds the buffer, gives it an address and switches it on.
   * @internal
   * @throws UnsupportedError where there is none, NvmeProtocolError where the controller refuses the address
   */
  static enable(device: PciDevice, isSupported: boolean, addresses: DeviceAddresses): ControllerMemoryBuffer {
    const bar = device.bar(0);
    const none = (): never => {
      throw new UnsupportedError(`${device.bdf} has no controller memory buffer`);
    };
    if (!isSupported) none();
    // Until then its properties read zero.
    bar.write64(NvmeRegister.CMBMSC, BigInt(CmbControl.CRE));
    const properties = decodeCmb(bar.read32(NvmeRegister.CMBLOC), bar.read32(NvmeRegister.CMBSZ));
    if (properties.sizeBytes === 0) none();
    // A part beyond the BAR can't be reached.
    const room = device.bar(properties.bar).sizeBytes - properties.offset;
    const sizeBytes = Math.min(properties.sizeBytes, room);
    if (sizeBytes <= 0) none();
    const { bar: index, offset } = properties;
    const base = addresses.take(sizeBytes, { ...properties, kind: "CMB", register: "CMBSZ" });
    const memory = new DeviceMemory(device, { bar: index, offset, sizeBytes, base });
    const cmb = new ControllerMemoryBuffer(properties, memory, bar, device.bdf);
    cmb.apply();
    return cmb;
  }

  /** Bytes that can be used. */
  get sizeBytes(): number {
    return this.memory.sizeBytes;
  }

  /** Address of its first byte in commands (CMBMSC.CBA). */
  get base(): bigint {
    return this.memory.place.base;
  }

  /**
   * Part of the buffer, for data or as `memory` of a queue pair. It isn't zeroed.
   * @throws ArgumentError, IovaSpaceError where there is no room, UnsupportedError where the BAR can't be mapped, SysError
   */
  alloc(sizeBytes: number): DmaBuffer {
    return this.memory.alloc(sizeBytes);
  }

  /**
   * Switches the buffer on again after a reset.
   * @throws NvmeProtocolError
   * @internal
   */
  apply(): void {
    // The high half first: with the low one it takes effect, and half an address would be that of somebody's buffer.
    this.bar.write32(NvmeRegister.CMBMSC, CmbControl.CRE);
    this.bar.write32(NvmeRegister.CMBMSC + 4, Number(this.base >> 32n));
    const low = Number(this.base & 0xffff_ffffn);
    this.bar.write32(NvmeRegister.CMBMSC, low + (CmbControl.CMSE | CmbControl.CRE));
    if ((this.bar.read32(NvmeRegister.CMBSTS) & CmbStatus.CBAI) !== 0) {
      this.bar.write64(NvmeRegister.CMBMSC, 0n);
      throw new NvmeProtocolError(`${this.name} refuses a CMB at 0x${this.base.toString(16)} (CMBSTS.CBAI)`);
    }
  }
}
