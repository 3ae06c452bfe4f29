/** The memory of shadow doorbells: how it is allocated and given to the controller (Doorbell Buffer Config). */
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import { PAGE_SIZE } from "../../sys/syscalls.js";
import type { NvmeCommand, NvmeCompletion } from "../command/command.js";
import { ShadowDoorbells } from "../queues/shadow-doorbells.js";
import { AdminOpcode } from "../spec/opcodes.js";

/** One page for the doorbells (PRP1) and one for the controller's event indexes (PRP2). */
export class ShadowMemory {
  private memory: DmaBuffer | undefined;
  private view: ShadowDoorbells | undefined;

  constructor(
    private readonly dma: DmaSpace,
    /** CC.MPS in bytes. */
    private readonly pageBytes: number,
  ) {}

  /** The doorbells, or undefined if they are not in use. */
  get doorbells(): ShadowDoorbells | undefined {
    return this.view;
  }

  /**
   * Gives the memory to the controller; the first call allocates it. Call it after each reset, before the I/O queues are
   * created.
   * @throws SysError, and what `admin` throws
   */
  async enable(admin: (command: NvmeCommand) => Promise<NvmeCompletion>): Promise<void> {
    const length = 2 * this.pageBytes;
    const memory = this.memory ?? this.alloc();
    memory.bytes.fill(0);
    await admin({
      name: "Doorbell Buffer Config",
      opcode: AdminOpcode.doorbellBufferConfig,
      data: { buffer: memory, length },
    });
  }

  /** Frees the memory. Only after the controller has stopped. */
  close(): void {
    this.memory?.close();
  }

  private alloc(): DmaBuffer {
    const { dma, pageBytes } = this;
    const iovaAlignBytes = pageBytes > PAGE_SIZE ? pageBytes : undefined;
    const memory = dma.alloc(2 * pageBytes, { alignBytes: pageBytes, iovaAlignBytes });
    memory.relinquish();
    const { words } = memory.memory;
    const half = pageBytes / 4;
    this.memory = memory;
    this.view = new ShadowDoorbells(words.subarray(0, half), words.subarray(half, 2 * half));
    return memory;
  }
}
