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

/** A command of its own, which can be changed. */
type OwnCommand = { -readonly [Name in keyof NvmeCommand]: NvmeCommand[Name] };

const TWO_32 = 2 ** 32;
/** Word of an entry with the low half of the first LBA (CDW10). */
const LBA = 10;

/** Settles one command: with dwords 0 and 1 of its completion, or with a rejected promise. */
type Settle = (outcome?: Promise<void>, dw0?: number, dw1?: number) => void;

/** Prepared commands, of which a queue pair has at most one run at a time. */
export class PreparedCommands {
  /** Queue entries without command ids. */
  readonly entries: Uint32Array;
  /** Status field of each completion; 0 is success. {@link NO_STATUS} before the first run. */
  readonly statuses: Uint16Array;
  /** Dword 0 of each completion, ... */
  readonly results: Uint32Array;
  /** ... and dword 1. */
  readonly results1: Uint32Array;
  /** One function for each command: a run makes none. */
  readonly settle: readonly Settle[];
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
    readonly commands: OwnCommand[],
    private readonly controller: PreparedFor,
  ) {
    const { length } = commands;
    this.next = length;
    this.entries = new Uint32Array(length * SQE_WORDS);
    this.statuses = new Uint16Array(length).fill(NO_STATUS);
    this.results = new Uint32Array(length);
    this.results1 = new Uint32Array(length);
    this.settle = commands.map((_, index) => this.settler(index));
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

  /** Moves a command without protection information to another LBA, a safe integer. */
  setLba(index: number, lba: number): void {
    const command = this.commands[index];
    if (command === undefined) return;
    const high = Math.floor(lba / TWO_32);
    command.cdw10 = lba >>> 0;
    command.cdw11 = high;
    this.entries[index * SQE_WORDS + LBA] = lba;
    this.entries[index * SQE_WORDS + LBA + 1] = high;
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
    this.left = this.commands.length;
    this.failed = 0;
    this.error = undefined;
    this.statuses.fill(0);
    this.onEnd = onEnd;
  }

  /** Ends all commands that were not submitted. */
  abandon(error: Error): void {
    const { length } = this.commands;
    const from = this.next;
    this.next = length;
    for (let index = from; index < length; index++) this.fail(index, error);
  }

  private write(index: number, command: NvmeCommand): void {
    const list = this.listOf[index] ?? NO_LIST;
    const { pageBytes } = this.controller;
    writeCommandEntry(this.entries, index * SQE_WORDS, command.opcode, command, pageBytes, list);
  }

  private settler(index: number): Settle {
    return (outcome, dw0 = 0, dw1 = 0) => {
      if (outcome !== undefined) {
        outcome.catch((error: Error) => this.fail(index, error));
        return;
      }
      this.results[index] = dw0;
      this.results1[index] = dw1;
      this.end();
    };
  }

  private fail(index: number, error: Error): void {
    const isStatus = error instanceof NvmeError;
    this.statuses[index] = isStatus ? error.statusField : NO_STATUS;
    this.failed++;
    const isFirst = this.error === undefined || (isStatus && index < this.errorAt);
    // What ended the controller says more than the status of a command.
    if (isFirst || (!isStatus && this.error instanceof NvmeError)) {
      this.error = error;
      this.errorAt = index;
    }
    this.end();
  }

  private end(): void {
    if (--this.left > 0) return;
    for (const lease of this.leases) lease.unpin();
    const { onEnd, error } = this;
    this.onEnd = undefined;
    onEnd?.(error instanceof NvmeError ? this.withPlace(error) : error);
  }

  private withPlace({ statusField }: NvmeError): NvmeError {
    const { commands, errorAt, failed } = this;
    const name = commandName(commands[errorAt] ?? { opcode: 0 });
    const others = failed === 1 ? "" : `; ${failed} failed`;
    return new NvmeError(
      `${name} (command ${errorAt} of a batch of ${commands.length}${others})`,
      statusField,
    );
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
