/** Boot partitions, read by registers: also a controller that executes no commands yet has them (NVMe Base 2.x, "Boot Partitions"). */
import { setTimeout as sleep } from "node:timers/promises";
import { checkInteger, checkKeys } from "../../core/check.js";
import {
  ArgumentError,
  DeviceGoneError,
  IovaError,
  TimeoutError,
  UnsupportedError,
} from "../../core/errors.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import {
  BOOT_PARTITION_UNIT_BYTES,
  BootPartitionInfo,
  BootPartitionSelect,
  NvmeRegister,
} from "../spec/registers.js";
import type { RegisterAccess } from "./registers.js";

/** Unit of offset and length, in bytes. */
const PAGE_BYTES = 4096;
/** Bytes that are read at a time. */
const CHUNK_BYTES = 256 << 10;
const DEFAULT_TIMEOUT_MS = 30_000;
const ALL_ONES = 0xffff_ffff;
/** BPINFO.BRS. */
const ReadStatus = { done: 2, failed: 3 } as const;

/** Options of {@link NvmeBootPartitions.read}. */
export interface BootPartitionOptions {
  /** First byte, a multiple of 4096; 0 by default. */
  readonly offset?: number | undefined;
  /** Number of bytes, a multiple of 4096; to the end by default. */
  readonly length?: number | undefined;
  /** Time limit of each part of 256 KiB in milliseconds; 30,000 by default. */
  readonly timeoutMs?: number | undefined;
}

/** The boot partitions of a controller. `nvme.firmware.commit("replaceBootPartition")` writes them. */
export class NvmeBootPartitions {
  private turn: Promise<unknown> = Promise.resolve();
  /** What a controller that never answered may still write to. */
  private readonly lost: DmaBuffer[] = [];

  /** @internal */
  constructor(
    private readonly bar: RegisterAccess,
    private readonly dma: DmaSpace,
    private readonly name: string,
    private readonly isSupported: boolean,
  ) {}

  /** BPINFO. @throws UnsupportedError if there are none, DeviceGoneError */
  get properties(): {
    /** Size of each, in bytes. */
    readonly sizeBytes: number;
    /** Number of the active one. */
    readonly active: number;
  } {
    const info = this.info();
    return {
      sizeBytes: (info & BootPartitionInfo.BPSZ_MASK) * BOOT_PARTITION_UNIT_BYTES,
      active: info >>> BootPartitionInfo.ABPID_SHIFT,
    };
  }

  /**
   * Reads a boot partition.
   * @param id 0 or 1
   * @throws UnsupportedError, ArgumentError, IovaError (`ERR_IOVA_NVME`: the controller failed to read), TimeoutError, SysError,
   *   DeviceGoneError, ClosedError
   */
  async read(id: 0 | 1, options: BootPartitionOptions = {}): Promise<Uint8Array> {
    checkInteger("id", id, 0, 1);
    checkKeys("options", options, ["offset", "length", "timeoutMs"]);
    const { sizeBytes } = this.properties;
    const { offset = 0, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    checkInteger("offset", offset, 0, sizeBytes);
    const length = checkInteger("length", options.length ?? sizeBytes - offset, 0, sizeBytes - offset);
    checkInteger("timeoutMs", timeoutMs, 1, 0x7fff_ffff);
    if (offset % PAGE_BYTES !== 0 || length % PAGE_BYTES !== 0)
      throw new ArgumentError(
        `offset and length must be multiples of ${PAGE_BYTES}, got ${offset} and ${length}`,
      );
    // There is one set of registers.
    const work = (): Promise<Uint8Array> => this.readInTurn(id, offset, length, timeoutMs);
    const mine = this.turn.then(work, work);
    this.turn = mine;
    return await mine;
  }

  private async readInTurn(
    id: number,
    offset: number,
    length: number,
    timeoutMs: number,
  ): Promise<Uint8Array> {
    const whole = new Uint8Array(length);
    if (length === 0) return whole;
    const buffer = this.dma.alloc(Math.min(CHUNK_BYTES, length));
    try {
      for (let at = 0; at < length; at += CHUNK_BYTES) {
        const part = Math.min(CHUNK_BYTES, length - at);
        this.bar.write64(NvmeRegister.BPMBL, buffer.iova);
        const { BPROF_SHIFT, BPID_SHIFT } = BootPartitionSelect;
        const from = (offset + at) / PAGE_BYTES;
        const select = (part / PAGE_BYTES) | (from << BPROF_SHIFT) | (id << BPID_SHIFT);
        this.bar.write32(NvmeRegister.BPRSEL, select >>> 0);
        await this.wait(id, offset + at, timeoutMs);
        whole.set(buffer.bytes.subarray(0, part), at);
      }
    } catch (error) {
      if (error instanceof TimeoutError) this.lost.push(buffer);
      else buffer.close();
      throw error;
    }
    buffer.close();
    return whole;
  }

  private async wait(id: number, at: number, timeoutMs: number): Promise<void> {
    const end = performance.now() + timeoutMs;
    for (let wait = 0; ; wait = 1) {
      const last = performance.now() >= end;
      const status = (this.info() >>> BootPartitionInfo.BRS_SHIFT) & 3;
      if (status === ReadStatus.done) return;
      const what = `reading boot partition ${id} of ${this.name} from byte ${at} on`;
      if (status === ReadStatus.failed) throw new IovaError("ERR_IOVA_NVME", `${what} failed (BPINFO.BRS)`);
      if (last) throw new TimeoutError(what, timeoutMs);
      await sleep(wait);
    }
  }

  private info(): number {
    if (!this.isSupported) throw new UnsupportedError(`${this.name} has no boot partitions (CAP.BPS)`);
    const info = this.bar.read32(NvmeRegister.BPINFO);
    if (info === ALL_ONES) throw new DeviceGoneError(this.name);
    return info;
  }
}
