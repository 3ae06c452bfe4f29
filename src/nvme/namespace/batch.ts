/** Commands of one namespace that are checked and prepared once, and submitted together as often as wanted. */
import { checkArray, checkFunction, checkInteger, checkKeys, lookUp } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { Resource } from "../../core/lifetime/resource.js";
import { DmaBuffer } from "../../dma/buffer.js";
import type { NvmeCommand } from "../command/command.js";
import { assertCommandData, type CommandData } from "../command/data-ranges.js";
import type { NvmeQueue } from "../command/queue.js";
import type { PreparedCommands } from "../queues/prepared-commands.js";
import { copyOfData } from "../queues/request.js";
import { IoOpcode } from "../spec/opcodes.js";
import type { BlockCommands } from "./block-command.js";
import type { CommandTarget } from "./command-target.js";
import { type IoOptions, ioOptions } from "./io-options.js";
import { checkLba } from "./lba.js";
import { assertOptional } from "./optional-commands.js";

const nothing = (): void => {};

/** Commands of a batch that transfer data. */
const TRANSFERS = { read: IoOpcode.read, write: IoOpcode.write, compare: IoOpcode.compare } as const;

/** One command of a batch: {@link IoOptions}, and what to do with which blocks. */
export interface BatchCommand extends Omit<IoOptions, "timeoutMs" | "signal" | "queue" | "metadata"> {
  /** What to do. A comparison that finds a difference fails (Compare Failure). */
  readonly command: keyof typeof TRANSFERS;
  /** First logical block. */
  readonly lba: bigint | number;
  /** A buffer of the controller's DMA space, or a list of ranges and bit buckets. */
  readonly data: DmaBuffer | CommandData;
  /** Memory of the blocks' metadata, see {@link IoOptions.metadata}. */
  readonly metadata?: DmaBuffer | CommandData | undefined;
}

/** Options of {@link NvmeNamespace.batch}. */
export interface BatchOptions {
  /** The queue pair for all commands. By default each run takes the next one in turn. */
  readonly queue?: NvmeQueue | undefined;
}

const commandKeys = [
  "command",
  "lba",
  "data",
  ...ioOptions.filter((name) => name !== "timeoutMs" && name !== "signal" && name !== "queue"),
] as const;

/**
 * Commands that are prepared once and submitted together. A run makes no object but its promise, and gives every command to one queue
 * pair, in their order; more commands than the queue has slots wait for their turn. The controller may complete them in any order.
 */
export class NvmeBatch extends Resource {
  /** Number of commands. */
  readonly length: number;
  private onEnd: (error: Error | undefined) => void = nothing;

  /** @internal Use {@link NvmeNamespace.batch}. */
  constructor(
    private readonly target: CommandTarget,
    private readonly blocks: BlockCommands,
    private readonly commands: readonly BatchCommand[],
    private readonly prepared: PreparedCommands,
    private readonly queue: NvmeQueue | undefined,
  ) {
    const { lists } = prepared;
    super({
      label: `batch of ${commands.length} commands of ${target.bdf}`,
      parents: [target.dma],
      owns: lists === undefined ? [] : [lists],
    });
    this.length = commands.length;
  }

  /**
   * Status field of each command's completion in the newest run: 0 is success, 0xffff that the controller didn't answer. The same
   * array for every run.
   */
  get statuses(): Uint16Array {
    return this.prepared.statuses;
  }

  /** Dword 0 of each command's completion. */
  get results(): Uint32Array {
    return this.prepared.results;
  }

  /**
   * Submits all commands.
   * @returns resolves when all have completed. Rejects then if one failed, with the error of the first that did: NvmeError, and
   *   {@link statuses} says which; or what ended the controller: TimeoutError, DeviceGoneError, NvmeResetError. ClosedError if a buffer,
   *   the batch or the controller is closed, BusyError if the batch is running
   */
  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.submit((error) => {
        if (error === undefined) resolve();
        else reject(error);
      });
    });
  }

  /**
   * {@link run} with a function in place of the promise: it allocates nothing.
   * @param onEnd called once, with the error that run() would reject with. It may start the next run
   * @throws ArgumentError, ClosedError, BusyError, and the error that the controller has failed with
   */
  start(onEnd: (error: Error | undefined) => void): void {
    checkFunction("onEnd", onEnd);
    this.submit(onEnd);
  }

  /**
   * Moves a command to other blocks. All else stays.
   * @throws ArgumentError, ClosedError, BusyError if the batch is running
   */
  setLba(index: number, lba: bigint | number): void {
    this.lease.assertOpen();
    this.lease.assertIdle();
    checkInteger("index", index, 0, this.length - 1);
    const { target, blocks, prepared } = this;
    // Protection information has a tag that follows the LBA.
    if (typeof lba === "number" && blocks.format.protection === undefined) {
      prepared.setLba(index, checkLba("lba", lba));
      return;
    }
    const command = this.commands[index];
    if (command !== undefined)
      prepared.replace(index, batchCommand(target, blocks, index, { ...command, lba }));
  }

  private submit(onEnd: (error: Error | undefined) => void): void {
    this.lease.pin("a run");
    try {
      this.target.submitPrepared(this.prepared, this.queue, this.ended);
    } catch (error) {
      this.lease.unpin();
      throw error;
    }
    // Not earlier: a run in progress, which the line above refuses to disturb, has its own.
    this.onEnd = onEnd;
  }

  private readonly ended = (error: Error | undefined): void => {
    const { onEnd } = this;
    this.lease.unpin();
    try {
      onEnd(error);
    } catch (thrown) {
      // Not here: the queue has more completions to hand out.
      queueMicrotask(() => {
        throw thrown;
      });
    }
  };
}

/** See {@link NvmeNamespace.batch}. */
export function prepareBatch(
  target: CommandTarget,
  blocks: BlockCommands,
  commands: readonly BatchCommand[],
  options: BatchOptions,
): NvmeBatch {
  checkArray("commands", commands);
  checkKeys("options", options, ["queue"]);
  if (commands.length === 0) throw new ArgumentError("commands is empty: a batch needs a command");
  const own = commands.map(ownCommand);
  const prepared = target.prepareIo(
    own.map((command, index) => batchCommand(target, blocks, index, command)),
  );
  try {
    return new NvmeBatch(target, blocks, own, prepared, options.queue);
  } catch (error) {
    prepared.lists?.close();
    throw error;
  }
}

/** A command that the caller can't change: setLba() reads it again. */
function ownCommand(command: BatchCommand): BatchCommand {
  if (typeof command !== "object" || command === null) return command;
  const { data, metadata } = command;
  return { ...command, data: ownData(data), metadata: metadata && ownData(metadata) };
}

function ownData(data: DmaBuffer | CommandData): DmaBuffer | CommandData {
  if (data instanceof DmaBuffer) return data;
  assertCommandData(data);
  return copyOfData(data);
}

/** @throws ArgumentError, UnsupportedError if the controller lacks the command */
function batchCommand(
  target: CommandTarget,
  blocks: BlockCommands,
  index: number,
  command: BatchCommand,
): NvmeCommand {
  checkKeys(`commands[${index}]`, command, commandKeys);
  const { command: name, lba, data, ...options } = command;
  const opcode = lookUp(`commands[${index}].command`, name, TRANSFERS);
  if (opcode === IoOpcode.compare) assertOptional(target, "Compare");
  return blocks.transfer(opcode, lba, data, options);
}
