import type { DmaBuffer } from "../dma/buffer.js";
import type { DmaSpace } from "../dma/space.js";
import { checkInteger, checkRange, checkU32 } from "../sys/check.js";
import { ArgumentError } from "../sys/errors.js";

/** The memory a command reads or writes. */
export interface CommandData {
  readonly buffer: DmaBuffer;
  /** First byte in the buffer, multiple of 4; 0 by default. */
  readonly offset?: number | undefined;
  /** Bytes; to the buffer's end by default. */
  readonly length?: number | undefined;
}

/** One command, its dwords under the specification's names. */
export interface NvmeCommand {
  readonly opcode: number;
  readonly nsid?: number;
  readonly cdw2?: number;
  readonly cdw3?: number;
  readonly cdw10?: number;
  readonly cdw11?: number;
  readonly cdw12?: number;
  readonly cdw13?: number;
  readonly cdw14?: number;
  readonly cdw15?: number;
  readonly data?: CommandData | undefined;
  /** What the command is, for error messages. */
  readonly name?: string;
  /**
   * Completes when it has something to say, maybe never: no time limit, nobody waits for it at shutdown, and it doesn't
   * keep the process alive.
   */
  readonly background?: boolean;
}

/** What a successful command came back with. */
export interface NvmeCompletion {
  /** DW0 and DW1 of the completion, command specific. */
  readonly dw0: number;
  readonly dw1: number;
}

/** Refuses what can't be right before a doorbell rings. @throws ArgumentError, ClosedError */
export function checkCommand(command: NvmeCommand, space: DmaSpace, maxBytes: number): void {
  checkInteger("opcode", command.opcode, 0, 0xff);
  for (const word of [
    "nsid",
    "cdw2",
    "cdw3",
    "cdw10",
    "cdw11",
    "cdw12",
    "cdw13",
    "cdw14",
    "cdw15",
  ] as const) {
    const value = command[word];
    if (value !== undefined) checkU32(word, value);
  }
  if (command.data !== undefined) checkData(command.data, space, maxBytes);
}

/** @throws ArgumentError: foreign buffer, outside it, misaligned, longer than one command may carry; ClosedError */
export function checkData(data: CommandData, space: DmaSpace, maxBytes: number): void {
  const { buffer, offset = 0 } = data;
  buffer.lease.assertOpen();
  if (buffer.space !== space) {
    throw new ArgumentError(`${buffer.lease.label} is of another DMA space than this controller's`);
  }
  if (!buffer.contiguous) {
    throw new ArgumentError(
      `${buffer.lease.label} lies scattered in physical memory: NVMe commands need it in one piece`,
    );
  }
  const length = data.length ?? buffer.sizeBytes - offset;
  checkRange("the buffer", offset, length, buffer.sizeBytes);
  if (offset % 4 !== 0) throw new ArgumentError(`offset ${offset} is not a multiple of 4`);
  if (length > maxBytes) {
    throw new ArgumentError(`${length} bytes are more than one command can carry here (${maxBytes})`);
  }
}
