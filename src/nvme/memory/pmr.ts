/** The persistent memory region (PMR). */
import { TimeoutError, UnsupportedError } from "../../core/errors.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { PciDevice } from "../../pci/device.js";
import type { DeviceAddresses } from "../command/device-addresses.js";
import { NvmeProtocolError } from "../command/error.js";
import { NvmeRegister, PmrCapability, PmrControl, PmrSpaceControl, PmrStatus } from "../spec/registers.js";
import { DeviceMemory } from "./device-memory.js";
import type { RegisterAccess } from "./registers.js";

/** PMRCAP, decoded. */
export interface PmrProperties {
  /** Index of its BAR (BIR). */
  readonly bar: number;
  /** Data of commands that read may be in it (RDS). */
  readonly reads: boolean;
  /** Data of commands that write may be in it (WDS). */
  readonly writes: boolean;
  /** Time limit to become ready, in milliseconds. */
  readonly timeoutMs: number;
  /** A read of the memory makes earlier writes persistent. */
  readonly flushByRead: boolean;
  /** A read of PMRSTS makes earlier writes persistent. */
  readonly flushByStatus: boolean;
  /** Commands can use its addresses (CMSS). */
  readonly inCommands: boolean;
}

/** Units of PMRCAP.PMRTU: 500 ms or a minute. */
const TIMEOUT_UNITS_MS = [500, 60_000] as const;

export function decodePmr(pmrcap: number): PmrProperties {
  const barrier = (pmrcap >>> PmrCapability.PMRWBM_SHIFT) & 0xf;
  const unit = TIMEOUT_UNITS_MS[(pmrcap >>> PmrCapability.PMRTU_SHIFT) & 3] ?? TIMEOUT_UNITS_MS[0];
  return {
    bar: (pmrcap >>> PmrCapability.BIR_SHIFT) & 7,
    reads: (pmrcap & PmrCapability.RDS) !== 0,
    writes: (pmrcap & PmrCapability.WDS) !== 0,
    timeoutMs: ((pmrcap >>> PmrCapability.PMRTO_SHIFT) & 0xff) * unit,
    flushByRead: (barrier & 1) !== 0,
    flushByStatus: (barrier & 2) !== 0,
    inCommands: (pmrcap & PmrCapability.CMSS) !== 0,
  };
}

/** The persistent memory region: memory on the controller that keeps its contents without power. */
export class PersistentMemoryRegion {
  private constructor(
    /** Properties of the region. */
    readonly properties: PmrProperties,
    private readonly memory: DeviceMemory,
    private readonly bar: RegisterAccess,
    private readonly name: string,
  ) {}

  /**
   * Gives the region an address and enables it.
   * @internal
   * @throws UnsupportedError if there is none, TimeoutError, NvmeProtocolError
   */
  static async enable(
    device: PciDevice,
    isSupported: boolean,
    addresses: DeviceAddresses,
  ): Promise<PersistentMemoryRegion> {
    if (!isSupported) throw new UnsupportedError(`${device.bdf} has no persistent memory region (CAP.PMRS)`);
    const bar = device.bar(0);
    const properties = decodePmr(bar.read32(NvmeRegister.PMRCAP));
    const { sizeBytes } = device.bar(properties.bar);
    // Without CMSS, only the host's loads and stores can access it.
    const { inCommands, reads, writes } = properties;
    const base = addresses.take(sizeBytes, {
      kind: "PMR",
      register: "PMRCAP",
      submissionQueues: false,
      completionQueues: false,
      lists: false,
      independentLists: false,
      mixedData: true,
      reads: inCommands && reads,
      writes: inCommands && writes,
    });
    const memory = new DeviceMemory(device, { bar: properties.bar, offset: 0, sizeBytes, base });
    const pmr = new PersistentMemoryRegion(properties, memory, bar, device.bdf);
    await pmr.apply();
    return pmr;
  }

  /** Length in bytes. */
  get sizeBytes(): number {
    return this.memory.sizeBytes;
  }

  /** Address of its first byte in commands (PMRMSC.CBA). */
  get base(): bigint {
    return this.memory.place.base;
  }

  /** Allocates a part of the region. It isn't zeroed. @throws as ControllerMemoryBuffer.alloc() */
  alloc(sizeBytes: number): DmaBuffer {
    return this.memory.alloc(sizeBytes);
  }

  /** Makes earlier writes persistent. @throws NvmeProtocolError if the region reports an error */
  flush(): void {
    this.check(this.bar.read32(NvmeRegister.PMRSTS));
  }

  /**
   * Enables the region, also after a reset.
   * @internal
   */
  async apply(): Promise<void> {
    const { bar, properties, base } = this;
    if (properties.inCommands) {
      bar.write32(NvmeRegister.PMRMSCU, Number(base >> 32n));
      bar.write32(NvmeRegister.PMRMSCL, Number(base & 0xffff_ffffn) + PmrSpaceControl.CMSE);
    }
    bar.write32(NvmeRegister.PMRCTL, PmrControl.EN);
    const end = performance.now() + properties.timeoutMs;
    for (;;) {
      const last = performance.now() >= end;
      const status = bar.read32(NvmeRegister.PMRSTS);
      if ((status & PmrStatus.NRDY) === 0) {
        this.check(status);
        return;
      }
      if (last) throw new TimeoutError(`${this.name}: persistent memory region`, properties.timeoutMs);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  private check(status: number): void {
    if ((status & PmrStatus.CBAI) !== 0) {
      throw new NvmeProtocolError(
        `${this.name} rejects the PMR address 0x${this.base.toString(16)} (PMRSTS.CBAI)`,
      );
    }
    const error = status & PmrStatus.ERR_MASK;
    if (error !== 0) {
      throw new NvmeProtocolError(
        `${this.name}: the persistent memory region reports error ${error} (PMRSTS.ERR)`,
      );
    }
  }
}
