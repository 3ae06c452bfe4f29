/** Host memory that the controller uses for itself (Host Memory Buffer). */
import { checkInteger, checkMembers } from "../../core/check.js";
import { ClosedError, UnsupportedError } from "../../core/errors.js";
import { closeAll } from "../../core/lifetime/close-all.js";
import { Lease } from "../../core/lifetime/lease.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { AdminTarget } from "../command/admin-target.js";
import type { NvmeCommand } from "../command/command.js";
import { HostMemoryFlag, hostMemoryAttributes, hostMemoryDescriptor } from "../spec/features.js";
import { AdminOpcode, FeatureId } from "../spec/opcodes.js";
import { NvmeFeatures } from "./features.js";

/** Unit of HMPRE, HMMIN and HMMINDS. */
const UNIT_BYTES = 4096;
const MOST_BYTES = 2 ** 32;

/** Memory in use by controllers. It stays referenced until it is returned, even if the program drops the HostMemoryBuffer. */
const given = new WeakMap<HostMemoryTarget, Map<Lease, readonly DmaBuffer[]>>();

function keep(target: HostMemoryTarget, lease: Lease, buffers: readonly DmaBuffer[]): void {
  const all = given.get(target) ?? new Map<Lease, readonly DmaBuffer[]>();
  all.set(lease, buffers);
  given.set(target, all);
}

/** The controller, as {@link HostMemoryBuffer} uses it. */
export interface HostMemoryTarget extends AdminTarget {
  /** Device of the controller. The memory is released before it. */
  readonly device: {
    /** The device's lifetime. */
    readonly lease: Lease;
  };
  /** Memory page of the controller in bytes (CC.MPS). */
  readonly memoryPageBytes: number;
  /** @internal Called with the command that gave the memory. It is sent again after a reset. */
  hostMemoryGiven(command: NvmeCommand): void;
}

/**
 * Host memory that the controller uses for itself (NVMe Base 2.x, section "Host Memory Buffer"). close() returns it, and
 * so does closing the controller. After a reset the controller gets it again, with its content.
 */
export class HostMemoryBuffer implements AsyncDisposable {
  private constructor(
    private readonly target: HostMemoryTarget,
    private readonly lease: Lease,
    /** Size of the memory, in bytes. */
    readonly sizeBytes: number,
    private readonly words: {
      readonly cdw12: number;
      readonly cdw13: number;
      readonly cdw14: number;
      readonly cdw15: number;
    },
  ) {}

  /**
   * Allocates memory and gives it to the controller. If that fails, nothing stays allocated.
   * @param bytes rounded up to memory pages of the controller; its preferred size (HMPRE) by default
   * @throws UnsupportedError (the controller uses none; the memory is too scattered for it), ArgumentError (less than
   *   HMMIN, the minimum), MemlockError, SysError, NvmeError, TimeoutError, DeviceGoneError, ClosedError
   */
  static async give(target: HostMemoryTarget, bytes?: number): Promise<HostMemoryBuffer> {
    checkMembers("target", target, "an NvmeController", {
      admin: "function",
      hostMemoryGiven: "function",
      identify: "object",
      device: "object",
      dma: "object",
    });
    const { hmpre, hmmin } = target.identify;
    if (hmpre === 0) throw new UnsupportedError(`${target.bdf} uses no host memory buffer (HMPRE is 0)`);
    const wanted = bytes ?? hmpre * UNIT_BYTES;
    checkInteger("bytes", wanted, Math.max(1, hmmin * UNIT_BYTES), MOST_BYTES);
    const page = target.memoryPageBytes;
    const sizeBytes = Math.ceil(wanted / page) * page;
    // Holds leases, not the buffers: the device's lease must not reference a Resource above it.
    const leases: Lease[] = [];
    const label = `host memory buffer of ${target.bdf}`;
    const lease = new Lease(label, () => closeAll(leases, label), target.device.lease);
    try {
      const memory = target.dma.alloc(sizeBytes);
      leases.push(memory.relinquish());
      const entries = descriptors(target, memory);
      const list = target.dma.alloc(entries.length * hostMemoryDescriptor.sizeBytes);
      leases.push(list.relinquish());
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
      await buffer.set(HostMemoryFlag.enable);
      return buffer;
    } catch (error) {
      lease.close();
      throw error;
    }
  }

  /** Whether the memory was returned. */
  get closed(): boolean {
    return this.lease.closed;
  }

  /**
   * Gives the memory to the controller again, with its content, after a reset that took it away: the controller was opened
   * without `restoreFeatures`, or rejected the restore. Does nothing if the controller has the memory.
   * @throws as give()
   */
  async restore(): Promise<void> {
    if (this.closed) throw new ClosedError(this.lease.label);
    const { value } = await new NvmeFeatures(this.target).get(FeatureId.hostMemoryBuffer, {
      sizeBytes: hostMemoryAttributes.sizeBytes,
    });
    if ((value & HostMemoryFlag.enable) === 0)
      await this.set(HostMemoryFlag.enable | HostMemoryFlag.memoryReturn);
  }

  /**
   * Takes the memory back from the controller, and frees it.
   * @throws NvmeError, TimeoutError, DeviceGoneError; the memory then stays allocated until the controller is closed
   */
  async close(): Promise<void> {
    if (this.closed) return;
    await new NvmeFeatures(this.target).set(FeatureId.hostMemoryBuffer, 0);
    this.lease.close();
    given.get(this.target)?.delete(this.lease);
  }

  /** Same as close(). */
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

/** Makes an entry for each contiguous piece. @throws UnsupportedError if the controller doesn't accept such pieces */
function descriptors(
  target: HostMemoryTarget,
  memory: DmaBuffer,
): { readonly badd: bigint; readonly bsize: number }[] {
  const { hmminds, hmmaxd } = target.identify;
  const least = hmminds * UNIT_BYTES;
  const { segments } = memory;
  if (segments.some((one) => one.sizeBytes < least) || (hmmaxd !== 0 && segments.length > hmmaxd)) {
    throw new UnsupportedError(
      `${memory.sizeBytes} bytes are in ${segments.length} pieces of memory; ${target.bdf} needs pieces of at least ${least} bytes` +
        `${hmmaxd === 0 ? "" : `, and at most ${hmmaxd} of them`}`,
    );
  }
  return segments.map(({ iova, sizeBytes }) => ({ badd: iova, bsize: sizeBytes / target.memoryPageBytes }));
}
