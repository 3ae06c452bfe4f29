/** Commands whose queue entries are made once and submitted many times, and the outcomes of the newest run. */
import { BusyError } from "../../core/errors.js";
import type { Lease } from "../../core/lifetime/lease.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { DmaSpace } from "../../dma/space.js";
import type { NvmeCommand } from "../command/command.js";
import { commandName } from "../command/command-name.js";
import { dataListPages } from "../command/data-pointer.js";
import { buffersOf, isDataList, rangeBytes } from "../command/data-ranges.js";
import { NvmeError } from "../command/error.js";
import { type PrpList, prpListPages } from "../command/prp.js";
import { SQE_WORDS } from "../spec/queue-entries.js";
import { writeCommandEntry } from "./command-entry.js";
import { listIn } from "./queue-memory.js";
import type { RequestPromise } from "./request.js";
import { allocRing } from "./ring-memory.js";

/** In place of a status, which has 15 bits: the controller has not answered. */
export const NO_STATUS = 0xffff;

const HOLDER = "a batch of NVMe commands";
const NO_LIST: PrpList = { words: new Uint32Array(0), at: 0, iovaLow: 0, iovaHigh: 0 };

/** The controller that the entries are for. */
export interface PreparedFor {
  readonly space: DmaSpace;
  /** CC.MPS in bytes. */
  readonly pageBytes: number;
  /** Longest transfer of one command. */
  readonly maxTransferBytes: number;
}

const TWO_32 = 2 ** 32;
/** Word of an entry with the low half of the first LBA (CDW10). */
const LBA = 10;
/** Entries from which on one call that copies them all is quicker than stores. */
const MANY = 4;

/** Prepared commands, of which a queue pair has at most one run at a time. */
export class PreparedCommands {
  /** How many there are. */
  readonly length: number;
  /** Queue entries without command ids. */
  private readonly entries: Uint32Array;
  /** Status field of each completion; 0 is success. {@link NO_STATUS} before the first run. */
  readonly statuses: Uint16Array;
  /** Dword 0 of each completion, ... */
  readonly results: Uint32Array;
  /** ... and dword 1. */
  readonly results1: Uint32Array;
  /** Memory for PRP lists and SGL segments, if a command needs any. Whoever made this closes it. */
  readonly lists: DmaBuffer | undefined;
  /** The first command that the run has not submitted. */
  next: number;
  private readonly listOf: readonly PrpList[];
  private readonly leases: ReadonlySet<Lease>;
  /** Commands of the run that have not ended. */
  private left = 0;
  private failed = 0;
  private error: Error | undefined = undefined;
  private errorAt = 0;
  private onEnd: ((error: Error | undefined) => void) | undefined = undefined;

  /**
   * @param commands checked, and not used by anybody else
   * @throws ClosedError, SysError
   */
  constructor(
    private readonly commands: NvmeCommand[],
    private readonly controller: PreparedFor,
  ) {
    const { length } = commands;
    this.length = length;
    this.next = length;
    this.entries = new Uint32Array(length * SQE_WORDS);
    this.statuses = new Uint16Array(length).fill(NO_STATUS);
    this.results = new Uint32Array(length);
    this.results1 = new Uint32Array(length);
    const buffers = commands.flatMap(({ data, metadata }) => [...buffersOf(data), ...buffersOf(metadata)]);
    this.leases = new Set(buffers.map(({ lease }) => lease));
    const { pageBytes } = controller;
    let listBytes = 0;
    const offsets = commands.map((command) => {
      const offset = listBytes;
      listBytes += listPages(command, controller) * pageBytes;
      return offset;
    });
    const lists = listBytes === 0 ? undefined : allocRing(controller.space, listBytes, pageBytes);
    this.lists = lists;
    const words = lists?.memory.words;
    this.listOf = offsets.map((offset) =>
      lists === undefined || words === undefined ? NO_LIST : listIn(lists, words, offset),
    );
    for (const [index, command] of commands.entries()) this.write(index, command);
  }

  get isRunning(): boolean {
    return this.left > 0;
  }

  /** A command as it is in the queue entry. */
  command(index: number): NvmeCommand {
    const { entries } = this;
    const at = index * SQE_WORDS + LBA;
    return { ...(this.commands[index] ?? { opcode: 0 }), cdw10: entries[at], cdw11: entries[at + 1] };
  }

  /** Copies the entries of so many commands from {@link next} on. @param entryWords from one entry to the next in the target */
  copyEntries(count: number, target: Uint32Array, at: number, entryWords: number): void {
    const { entries } = this;
    if (entryWords !== SQE_WORDS) {
      for (let i = 0; i < count; i++) {
        const from = (this.next + i) * SQE_WORDS;
        target.set(entries.subarray(from, from + SQE_WORDS), at + i * entryWords);
      }
      return;
    }
    const start = this.next * SQE_WORDS;
    const words = count * SQE_WORDS;
    if (count >= MANY) target.set(entries.subarray(start, start + words), at);
    else for (let word = 0; word < words; word++) target[at + word] = entries[start + word] ?? 0;
  }

  /** Moves a command without protection information to another LBA, a safe integer. */
  setLba(index: number, lba: number): void {
    const at = index * SQE_WORDS + LBA;
    this.entries[at] = lba;
    this.entries[at + 1] = lba / TWO_32;
  }

  /** Puts a command in the place of one with the same data. */
  replace(index: number, command: NvmeCommand): void {
    this.commands[index] = command;
    this.write(index, command);
  }

  /**
   * Begins a run. Until its end, no buffer can be closed.
   * @param onEnd called when all commands have ended, with the error of one that failed
   * @throws BusyError if it is running; ClosedError if a buffer was closed. Nothing has begun then
   */
  begin(onEnd: (error: Error | undefined) => void): void {
    if (this.isRunning) throw new BusyError("the batch is running: wait until it ends, or make another one");
    for (const lease of this.leases) lease.assertOpen();
    for (const lease of this.leases) lease.pin(HOLDER);
    this.next = 0;
    this.left = this.length;
    this.failed = 0;
    this.error = undefined;
    this.statuses.fill(0);
    this.onEnd = onEnd;
  }

  /** A command of the run was successful. @param dw0 dword 0 of its completion @param dw1 dword 1 */
  succeed(index: number, dw0: number, dw1: number): void {
    this.results[index] = dw0;
    this.results1[index] = dw1;
    if (--this.left === 0) this.finish();
  }

  /** For a command of the run that becomes a request of its own. */
  outcomeOf(index: number): RequestPromise {
    return {
      complete: ({ dw0, dw1 }) => this.succeed(index, dw0, dw1),
      reject: (error) => this.fail(index, error),
    };
  }

  /** A command of the run has failed. The run's end comes a moment later: the queue is busy with its other commands. */
  fail(index: number, error: unknown): void {
    Promise.reject(error).catch((reason: Error) => this.failNow(index, reason));
  }

  /** Ends all commands that were not submitted. */
  abandon(error: Error): void {
    const { length } = this;
    const from = this.next;
    this.next = length;
    for (let index = from; index < length; index++) this.failNow(index, error);
  }

  private write(index: number, command: NvmeCommand): void {
    const list = this.listOf[index] ?? NO_LIST;
    const { pageBytes } = this.controller;
    writeCommandEntry(this.entries, index * SQE_WORDS, command.opcode, command, pageBytes, list);
  }

  private failNow(index: number, error: Error): void {
    const isStatus = error instanceof NvmeError;
    this.statuses[index] = isStatus ? error.statusField : NO_STATUS;
    this.failed++;
    const isFirst = this.error === undefined || (isStatus && index < this.errorAt);
    // What ended the controller says more than the status of a command.
    if (isFirst || (!isStatus && this.error instanceof NvmeError)) {
      this.error = error;
      this.errorAt = index;
    }
    if (--this.left === 0) this.finish();
  }

  private finish(): void {
    for (const lease of this.leases) lease.unpin();
    const { onEnd, error } = this;
    this.onEnd = undefined;
    onEnd?.(error instanceof NvmeError ? this.withPlace(error) : error);
  }

  private withPlace({ statusField }: NvmeError): NvmeError {
    const { length, errorAt, failed } = this;
    const name = commandName(this.command(errorAt));
    const others = failed === 1 ? "" : `; ${failed} failed`;
    return new NvmeError(`${name} (command ${errorAt} of a batch of ${length}${others})`, statusField);
  }
}

/** Pages that the lists of a command may take. */
function listPages({ data, metadata, sgl }: NvmeCommand, controller: PreparedFor): number {
  const { pageBytes, maxTransferBytes } = controller;
  if (data === undefined && metadata === undefined) return 0;
  const isPlain =
    data !== undefined && !isDataList(data) && metadata === undefined && (sgl === undefined || sgl === false);
  return isPlain ? prpListPages(rangeBytes(data), pageBytes) : dataListPages(maxTransferBytes, pageBytes);
}
