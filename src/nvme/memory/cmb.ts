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
  /** Index of its BAR (BIR). */
  readonly bar: number;
  /** Offset in the BAR, in bytes. */
  readonly offset: number;
  /** Length in bytes. */
  readonly sizeBytes: number;
  /** Submission queues may be in it (SQS). */
  readonly submissionQueues: boolean;
  /** Completion queues may be in it (CQS). */
  readonly completionQueues: boolean;
  /** PRP lists and SGL segments may be in it (LISTS). */
  readonly lists: boolean;
  /** Data of commands that read may be in it (RDS). */
  readonly reads: boolean;
  /** Data of commands that write may be in it (WDS). */
  readonly writes: boolean;
  /** A queue may be in several pieces (CQPDS). */
  readonly scatteredQueues: boolean;
  /** A queue may be only partly in it (CQMMS). */
  readonly mixedQueues: boolean;
  /** Lists of one command may be only partly in it (CDPMLS). */
  readonly mixedLists: boolean;
  /** Lists may be in it if their submission queue isn't (CDPCILS). */
  readonly independentLists: boolean;
  /** Data and metadata of one command may be only partly in it (CDMMMS). */
  readonly mixedData: boolean;
}

/** Decodes the registers CMBLOC and CMBSZ. */
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

/** The controller memory buffer: memory on the controller for queues and data, which it needn't fetch from the host. */
export class ControllerMemoryBuffer {
  private constructor(
    /** Properties of the buffer. */
    readonly properties: CmbProperties,
    private readonly memory: DeviceMemory,
    private readonly bar: RegisterAccess,
    private readonly name: string,
  ) {}

  /**
   * Finds the buffer, gives it an address and enables it.
   * @internal
   * @throws UnsupportedError if there is none, NvmeProtocolError if the controller rejects the address
   */
  static enable(device: PciDevice, isSupported: boolean, addresses: DeviceAddresses): ControllerMemoryBuffer {
    const bar = device.bar(0);
    const none = (): never => {
      throw new UnsupportedError(`${device.bdf} has no controller memory buffer`);
    };
    if (!isSupported) none();
    // CMBLOC and CMBSZ read zero without CRE.
    bar.write64(NvmeRegister.CMBMSC, BigInt(CmbControl.CRE));
    const properties = decodeCmb(bar.read32(NvmeRegister.CMBLOC), bar.read32(NvmeRegister.CMBSZ));
    if (properties.sizeBytes === 0) none();
    // The end may be outside the BAR, where it can't be accessed.
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

  /** Usable size, in bytes. */
  get sizeBytes(): number {
    return this.memory.sizeBytes;
  }

  /** Address of its first byte in commands (CMBMSC.CBA). */
  get base(): bigint {
    return this.memory.place.base;
  }

  /**
   * Allocates a part of the buffer, for data or as `memory` of a queue pair. It isn't zeroed.
   * @throws ArgumentError, IovaSpaceError if there is no room, UnsupportedError if the BAR can't be mapped, SysError
   */
  alloc(sizeBytes: number): DmaBuffer {
    return this.memory.alloc(sizeBytes);
  }

  /**
   * Enables the buffer, also after a reset.
   * @throws NvmeProtocolError
   * @internal
   */
  apply(): void {
    // The low half takes effect, so the high half must be written before: half an address might be that of another buffer.
    this.bar.write32(NvmeRegister.CMBMSC, CmbControl.CRE);
    this.bar.write32(NvmeRegister.CMBMSC + 4, Number(this.base >> 32n));
    const low = Number(this.base & 0xffff_ffffn);
    this.bar.write32(NvmeRegister.CMBMSC, low + (CmbControl.CMSE | CmbControl.CRE));
    if ((this.bar.read32(NvmeRegister.CMBSTS) & CmbStatus.CBAI) !== 0) {
      this.bar.write64(NvmeRegister.CMBMSC, 0n);
      throw new NvmeProtocolError(
        `${this.name} rejects the CMB address 0x${this.base.toString(16)} (CMBSTS.CBAI)`,
      );
    }
  }
}
