/** The command slots of a queue pair: one for each command that can be outstanding, preallocated. */
import type { DmaBuffer } from "../../dma/buffer.js";
import type { NvmeCommand } from "../command/command.js";
import { transferName } from "../command/command-name.js";
import { holdData } from "../command/data-ranges.js";
import type { PrpList } from "../command/prp.js";
import { CommandIds } from "./command-ids.js";
import type { PreparedCommands } from "./prepared-commands.js";
import { Request, type RequestPromise } from "./request.js";

/** Bits of a command id. The uppermost bit stays 0, so that no id is 0xffff, which has a meaning of its own. */
const CID_BITS = 15;
/** The same where they don't count uses: an id is below the number of entries, so it is never 0xffff either. */
const WHOLE_CID_BITS = 16;
const TWO_32 = 2 ** 32;
const nothing = (): void => {};

/** For a plain command that becomes a request. */
function settling(finish: Slot["finish"]): RequestPromise {
  return { finish, reject: (error) => finish(Promise.reject(error)) };
}

/** A plain read or write as a command. */
export function plainCommand(
  opcode: number,
  nsid: number,
  lba: number,
  cdw12: number,
  buffer: DmaBuffer,
  offset: number,
  length: number,
): NvmeCommand {
  return {
    name: transferName(opcode),
    opcode,
    nsid,
    cdw10: lba >>> 0,
    cdw11: Math.floor(lba / TWO_32),
    cdw12,
    data: { buffer, offset, length },
  };
}

/**
 * One slot. While the controller has its command, it holds a request, the fields of a plain read or write (one contiguous buffer,
 * no options), or the place of a prepared command. Nearly all commands are plain, and the fields need no object besides the promise.
 */
export class Slot {
  /** Command id while the controller has the command, else -1. */
  cid = -1;
  /** The command, if it isn't plain. */
  request: Request | undefined = undefined;

  // A plain read or write, whose buffer is held.
  opcode = 0;
  nsid = 0;
  lba = 0;
  cdw12 = 0;
  buffer: DmaBuffer | undefined = undefined;
  offset = 0;
  length = 0;

  /** Ends a plain command: a rejected promise as its argument rejects it. */
  finish: (outcome?: Promise<void>) => void = nothing;

  /** A command of a batch, which holds its data, ... */
  batch: PreparedCommands | undefined = undefined;
  /** ... by its index there. */
  batchIndex = 0;

  constructor(
    readonly index: number,
    /** The slot's own pages for PRP lists and SGL segments. */
    readonly list: PrpList,
  ) {}

  /** The command as an object; created on demand for a plain one. Traces, errors and resets need it. */
  get command(): NvmeCommand {
    const { request, batch, opcode, nsid, lba, cdw12, buffer, offset, length } = this;
    if (request !== undefined) return request.command;
    if (batch !== undefined) return batch.command(this.batchIndex);
    if (buffer === undefined) return { opcode };
    return plainCommand(opcode, nsid, lba, cdw12, buffer, offset, length);
  }

  /** The command was successful: settles its promise, and empties the slot. */
  end(dw0: number, dw1: number): void {
    const { request, batch, buffer, finish } = this;
    this.cid = -1;
    if (batch !== undefined) {
      this.batch = undefined;
      batch.succeed(this.batchIndex, dw0, dw1);
      return;
    }
    if (request !== undefined) {
      this.request = undefined;
      request.cid = -1;
      request.complete(dw0, dw1);
      return;
    }
    this.buffer = undefined;
    this.finish = nothing;
    buffer?.lease.unpin();
    finish();
  }

  /** The command failed: rejects its promise, and empties the slot. */
  fail(error: Error): void {
    const { request, batch, buffer, finish } = this;
    this.empty();
    if (batch !== undefined) {
      batch.fail(this.batchIndex, error);
      return;
    }
    if (request !== undefined) {
      request.cid = -1;
      request.fail(error);
      return;
    }
    buffer?.lease.unpin();
    finish(Promise.reject(error));
  }

  /** Empties the slot. @returns its command as a request, which can be submitted again */
  takeOut(): Request {
    const { command, request: own, finish, buffer, batch, batchIndex } = this;
    const request = own ?? new Request(command, batch?.outcomeOf(batchIndex) ?? settling(finish));
    if (own === undefined) {
      holdData(command.data);
      holdData(command.metadata);
      buffer?.lease.unpin();
    }
    this.empty();
    request.cid = -1;
    return request;
  }

  private empty(): void {
    this.cid = -1;
    this.request = undefined;
    this.batch = undefined;
    this.buffer = undefined;
    this.finish = nothing;
  }
}

/**
 * All slots of a queue pair, and which of them are free.
 *
 * A command id is the slot's index, with a count of the slot's uses in the remaining upper bits. A duplicate completion is
 * therefore not mistaken for that of the slot's next command. On a controller with the quirk `shared-command-ids` it is the index
 * only, counted from a first id on.
 */
export class Slots {
  readonly all: readonly Slot[];
  private ids: CommandIds;
  /** Number of outstanding background commands. */
  background = 0;
  private readonly firstId: number;
  private readonly slotMask: number;
  private readonly useStep: number;
  private readonly useMask: number;
  /** The use count of each slot, shifted to its place in the command id. */
  private readonly uses: Uint16Array;

  constructor(
    readonly count: number,
    listOf: (index: number) => PrpList,
    /** The id of the first slot, where ids don't count uses. */
    firstId?: number | undefined,
  ) {
    this.all = Array.from({ length: count }, (_, index) => new Slot(index, listOf(index)));
    this.ids = new CommandIds(count);
    this.uses = new Uint16Array(count);
    this.firstId = firstId ?? 0;
    const slotBits = firstId === undefined ? Math.ceil(Math.log2(count + 1)) : WHOLE_CID_BITS;
    this.slotMask = 2 ** slotBits - 1;
    this.useStep = slotBits < CID_BITS ? 2 ** slotBits : 0;
    this.useMask = slotBits < CID_BITS ? 2 ** CID_BITS - 1 - this.slotMask : 0;
  }

  /** Free slots. */
  get available(): number {
    return this.ids.available;
  }

  /** Commands that the controller has, without those in the background. */
  get outstanding(): number {
    return this.ids.outstanding - this.background;
  }

  /** Takes a free slot, and sets its next command id. @returns undefined if all are in use */
  take(): Slot | undefined {
    const index = this.ids.take();
    const slot = this.all[index];
    if (slot === undefined) return undefined;
    const use = ((this.uses[index] ?? 0) + this.useStep) & this.useMask;
    this.uses[index] = use;
    slot.cid = (index + this.firstId) | use;
    return slot;
  }

  /** The slot of the outstanding command with this id; undefined if there is none. */
  find(cid: number): Slot | undefined {
    const slot = this.all[(cid & this.slotMask) - this.firstId];
    return slot !== undefined && slot.cid === cid ? slot : undefined;
  }

  /** Frees the slot of a command id. */
  give(cid: number): void {
    this.ids.give((cid & this.slotMask) - this.firstId);
  }

  /** Takes all outstanding commands out of their slots, in the order of slots; all slots are free afterwards. */
  takeAll(): Request[] {
    const requests = this.all.filter(({ cid }) => cid >= 0).map((slot) => slot.takeOut());
    this.ids = new CommandIds(this.count);
    this.background = 0;
    return requests;
  }
}
