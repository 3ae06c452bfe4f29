import { checkInteger } from "../../core/check.js";
import { ClosedError, UnsupportedError } from "../../core/errors.js";
import { closeAll, Lease } from "../../core/resource.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { AdminTarget } from "../command/admin-target.js";
import type { NvmeCommand } from "../command/command.js";
import { hostMemoryAttributes, hostMemoryDescriptor } from "../spec/features.js";
import { AdminOpcode, FeatureId } from "../spec/opcodes.js";
import { NvmeFeatures } from "./features.js";

/** Unit of HMPRE, HMMIN and HMMINDS. */
const UNIT_BYTES = 4096;
const ENABLE = 1;
/** The same memory with the same contents is given back after a reset. */
const MEMORY_RETURN = 2;
const MOST_BYTES = 2 ** 32;

/** Memory that controllers have: it stays as long as they do, also where nobody holds the HostMemoryBuffer. */
const given = new WeakMap<HostMemoryTarget, Map<Lease, readonly DmaBuffer[]>>();

function keep(target: HostMemoryTarget, lease: Lease, buffers: readonly DmaBuffer[]): void {
  const all = given.get(target) ?? new Map<Lease, readonly DmaBuffer[]>();
  all.set(lease, buffers);
  given.set(target, all);
}

/** What of a controller it takes. */
export interface HostMemoryTarget extends AdminTarget {
  readonly device: { readonly lease: Lease };
  /** Memory page of the controller in bytes (CC.MPS). */
  readonly memoryPageBytes: number;
  /** Is told by which command it was given the memory: the command to be sent again after a reset. */
  hostMemoryGiven(command: NvmeCommand): void;
}

/**
 * Memory of the host that the controller has to itself (NVMe Base 2.x, section "Host Memory Buffer"). It is taken back
 * with close(), or when the controller is closed. After a reset the controller gets it again, with what it had in there.
 */
export class HostMemoryBuffer implements AsyncDisposable {
  private constructor(
    private readonly target: HostMemoryTarget,
    private readonly lease: Lease,
    /** How much the controller was given. */
    readonly sizeBytes: number,
    private readonly words: {
      readonly cdw12: number;
      readonly cdw13: number;
      readonly cdw14: number;
      readonly cdw15: number;
    },
  ) {}

  /**
   * @param bytes as much as the controller prefers (HMPRE) by default; rounded up to its pages
   * @throws UnsupportedError (the controller wants none; memory too scattered for it), ArgumentError (less than it needs,
   *   HMMIN), MemlockError, SysError, NvmeError, TimeoutError, DeviceGoneError, ClosedError; nothing stays allocated
   */
  static async give(target: HostMemoryTarget, bytes?: number): Promise<HostMemoryBuffer> {
    const { hmpre, hmmin } = target.identify;
    if (hmpre === 0) throw new UnsupportedError(`${target.bdf} wants no host memory buffer (HMPRE is 0)`);
    const wanted = bytes ?? hmpre * UNIT_BYTES;
    checkInteger("bytes", wanted, Math.max(1, hmmin * UNIT_BYTES), MOST_BYTES);
    const page = target.memoryPageBytes;
    const sizeBytes = Math.ceil(wanted / page) * page;
    // Their leases only: the device's own must not lead to a Resource above it.
    const leases: Lease[] = [];
    const label = `host memory buffer of ${target.bdf}`;
    const lease = new Lease(label, () => closeAll(leases, label), target.device.lease);
    try {
      const memory = target.dma.alloc(sizeBytes);
      leases.push(memory.entrust());
      const entries = descriptors(target, memory);
      const list = target.dma.alloc(entries.length * hostMemoryDescriptor.sizeBytes);
      leases.push(list.entrust());
      entries.forEach((entry, i) => {
        list.bytes.set(hostMemoryDescriptor.encode(entry), i * hostMemoryDescriptor.sizeBytes);
      });
      keep(target, lease, [memory, list]);
      const buffer = new HostMemoryBuffer(target, lease, sizeBytes, {
        cdw12: sizeBytes / page,
        cdw13: list.iovaLow,
        cdw14: list.iovaHigh,
        cdw15: entries.length,
      });
      await buffer.set(ENABLE);
      return buffer;
    } catch (error) {
      lease.close();
      throw error;
    }
  }

  get closed(): boolean {
    return this.lease.closed;
  }

  /**
   * Gives the memory to the controller again, where a reset took it away: the controller was opened without `restoreFeatures`,
   * or refused it. What it had in there is still there. Does nothing where the controller has it.
   * @throws as give()
   */
  async restore(): Promise<void> {
    if (this.closed) throw new ClosedError(this.lease.label);
    const { value } = await new NvmeFeatures(this.target).get(FeatureId.hostMemoryBuffer, {
      sizeBytes: hostMemoryAttributes.sizeBytes,
    });
    if ((value & ENABLE) === 0) await this.set(ENABLE | MEMORY_RETURN);
  }

  /**
   * Takes the memory back: the controller says when it has let go.
   * @throws NvmeError, TimeoutError, DeviceGoneError: the memory stays until the controller is closed
   */
  async close(): Promise<void> {
    if (this.closed) return;
    await new NvmeFeatures(this.target).set(FeatureId.hostMemoryBuffer, 0);
    this.lease.close();
    given.get(this.target)?.delete(this.lease);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private async set(value: number): Promise<void> {
    await new NvmeFeatures(this.target).set(FeatureId.hostMemoryBuffer, value, this.words);
    this.target.hostMemoryGiven({
      name: "Set Features (Host Memory Buffer)",
      opcode: AdminOpcode.setFeatures,
      cdw10: FeatureId.hostMemoryBuffer,
      cdw11: value,
      ...this.words,
    });
  }
}

/** One entry for each piece that lies together, as the controller wants them. @throws UnsupportedError */
function descriptors(
  target: HostMemoryTarget,
  memory: DmaBuffer,
): { readonly badd: bigint; readonly bsize: number }[] {
  const { hmminds, hmmaxd } = target.identify;
  const least = hmminds * UNIT_BYTES;
  const { segments } = memory;
  if (segments.some((one) => one.sizeBytes < least) || (hmmaxd !== 0 && segments.length > hmmaxd)) {
    throw new UnsupportedError(
      `${memory.sizeBytes} bytes lie in ${segments.length} pieces of memory; ${target.bdf} wants pieces of ${least} bytes ` +
        `and ${hmmaxd === 0 ? "any number" : `at most ${hmmaxd}`} of them`,
    );
  }
  return segments.map(({ iova, sizeBytes }) => ({ badd: iova, bsize: sizeBytes / target.memoryPageBytes }));
}
