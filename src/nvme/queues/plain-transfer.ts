import type { DmaBuffer } from "../../dma/buffer.js";
import type { NvmeCommand } from "../command/command.js";
import type { PrpList } from "../command/prp.js";
import { IoOpcode } from "../spec/opcodes.js";

const names: Readonly<Record<number, string>> = {
  [IoOpcode.read]: "read",
  [IoOpcode.write]: "write",
  [IoOpcode.compare]: "compare",
  [IoOpcode.zoneAppend]: "zone append",
};

/** Of a command on blocks that carries data, for messages. */
export function transferName(opcode: number): string {
  return names[opcode] ?? "transfer";
}

const nobody = (): void => {};
const TWO_32 = 2 ** 32;

/**
 * A read or write of one contiguous buffer without any wishes, which is what nearly all commands are: the state of a queue's
 * slot for it, made once, so that such a command costs no object but its promise.
 */
export class PlainTransfer {
  /** Command id while it is with the controller, else -1. */
  cid = -1;
  opcode = 0;
  nsid = 0;
  lba = 0;
  /** CDW12: blocks and control. */
  cdw12 = 0;
  buffer: DmaBuffer | undefined = undefined;
  offset = 0;
  length = 0;
  /** Of its promise. To reject that, it is given a promise that was rejected. */
  finish: (outcome?: Promise<void>) => void = nobody;

  constructor(
    /** The slot's list pages. */
    readonly list: PrpList,
  ) {}

  /** The same as any other command. Made when asked for: by a trace, an error, a reset. */
  get command(): NvmeCommand {
    const { opcode, nsid, lba, cdw12, buffer, offset, length } = this;
    return {
      name: transferName(opcode),
      opcode,
      nsid,
      cdw10: lba >>> 0,
      cdw11: Math.floor(lba / TWO_32),
      cdw12,
      data: buffer && { buffer, offset, length },
    };
  }

  /** The command is over: nothing is held on to for it. @returns what settles its promise */
  end(): (outcome?: Promise<void>) => void {
    const { buffer, finish } = this;
    this.cid = -1;
    this.buffer = undefined;
    this.finish = nobody;
    buffer?.lease.drop();
    return finish;
  }
}
