/** A command with its promise, from submission to completion. */
import type { CommandData, NvmeCommand, NvmeCompletion } from "../command/command.js";
import type { CommandLimits } from "../command/command-options.js";
import { dropData, isDataList } from "../command/data-ranges.js";

/** How the promise of a request is settled. */
export interface RequestPromise {
  /** Resolves with the completion. Left out if the caller doesn't need it. */
  readonly complete?: ((completion: NvmeCompletion) => void) | undefined;
  /** Resolves with nothing, if `complete` is left out. */
  readonly finish?: (() => void) | undefined;
  readonly reject: (error: unknown) => void;
}

/**
 * Its own: the caller may change the object, but the controller may get only what was checked. Always of the same shape, because
 * V8 takes five times as long for a command with objects made by a spread.
 */
export function copyOf(command: NvmeCommand): NvmeCommand {
  const { opcode, nsid, cdw2, cdw3, cdw10, cdw11, cdw12, cdw13, cdw14, cdw15 } = command;
  const { sgl, fuse, name, background } = command;
  const data = copyOfData(command.data);
  const metadata = copyOfData(command.metadata);
  return {
    opcode,
    nsid,
    cdw2,
    cdw3,
    cdw10,
    cdw11,
    cdw12,
    cdw13,
    cdw14,
    cdw15,
    data,
    metadata,
    sgl,
    fuse,
    name,
    background,
  };
}

/** Data whose ranges nobody else can change. */
export function copyOfData<Data extends CommandData | undefined>(data: Data): Data;
export function copyOfData(data: CommandData | undefined): CommandData | undefined {
  if (data === undefined) return undefined;
  if (isDataList(data)) return data.map((part) => ({ ...part }));
  const { buffer, offset, length } = data;
  return { buffer, offset, length };
}

/** A command that waits for a slot or is outstanding. */
export class Request {
  /** Command id while the controller has the command, else -1. */
  cid = -1;
  /** The command's own time limit and signal, if it has any. */
  limits: CommandLimits | undefined = undefined;
  /** The promise was rejected, but the controller may still have the command. */
  gaveUp = false;
  /** An Abort of the command is outstanding: its command id can't be reused yet. */
  aborting = false;
  /** The promise is settled and the data released. */
  isOver = false;
  /** Second half of a fused operation: its first half. Both are given up together. */
  partner: Request | undefined = undefined;

  /** What was checked. Later changes of the caller's object don't reach the controller. */
  readonly command: NvmeCommand;

  constructor(
    command: NvmeCommand,
    private readonly promise: RequestPromise,
  ) {
    this.command = copyOf(command);
  }

  /** Resolves the promise, and releases the data. */
  complete(dw0: number, dw1: number): void {
    this.release();
    const { complete, finish } = this.promise;
    if (complete !== undefined) complete({ dw0, dw1 });
    else finish?.();
  }

  /** Rejects the promise, and releases the data. The controller must not have the command any more. */
  fail(error: unknown): void {
    this.release();
    this.promise.reject(error);
  }

  /** Rejects the promise while the controller still has the command and its data. */
  giveUp(reason: unknown): void {
    this.gaveUp = true;
    this.promise.reject(reason);
  }

  private release(): void {
    this.isOver = true;
    dropData(this.command.data);
    dropData(this.command.metadata);
    this.limits?.end();
  }
}
