/** The Sanitize command. */
import { randomFillSync } from "node:crypto";
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { CommandEffects, SanitizeStatus, sanitizeLog } from "../../../nvme/spec/log-pages.js";
import { AdminOpcode, AsyncEventInfo, LogPageId } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { Inventory } from "../medium/inventory.js";
import type { Medium } from "../medium/medium.js";
import { fraction } from "../medium/state-schema.js";
import { type AdminCommands, type AdminService, savedPart } from "./admin-service.js";
import { BackgroundWork } from "./background-work.js";

/** The part of a migration state that holds the progress of a sanitize operation. */
const sanitizeState = lazily(() =>
  z.strictObject({ done: fraction(), fails: z.boolean(), isErased: z.boolean() }),
);
type SanitizeState = z.output<ReturnType<typeof sanitizeState>>;

/** SANICAP: cryptographic and block erase, overwrite; nothing but the operation itself modifies the medium. */
export const SANITIZE_CAPABILITIES = 0b111 | (1 << 30);

/** SANACT, CDW10 bits 2:0. */
const Action = { exitFailure: 1, blockErase: 2, overwrite: 3, cryptoErase: 4 } as const;
/** Of CDW10: AUSE, OIPBP, NDAS, EMVS. */
const UNRESTRICTED_EXIT = 1 << 3;
const INVERT = 1 << 8;
const NO_DEALLOCATE = 1 << 9;
const VERIFICATION = 1 << 10;
const MOST_PASSES = 16;

const NOT_IN_PROGRESS = 0xffff;
const PROGRESS_WHOLE = 0x1_0000;
const TIME_UNKNOWN = 0xffff_ffff;
/** Most bytes that one turn of the event loop writes; punching zeros costs less. */
const WRITE_BYTES = 4 << 20;
const ZERO_BYTES = 1 << 30;

/** Log pages that can be read while commands are refused: Base, figure "Sanitize Operations - Admin Commands Allowed". */
const allowedLogs: ReadonlySet<number> = new Set([
  LogPageId.supportedLogPages,
  LogPageId.errorInformation,
  LogPageId.smart,
  LogPageId.firmwareSlot,
  LogPageId.changedNamespaces,
  LogPageId.commandsSupported,
  LogPageId.reservationNotification,
  LogPageId.sanitizeStatus,
]);

/** What sanitizing needs of its controller. */
export interface SanitizeContext {
  /** All admin commands that there are. */
  readonly commands: AdminCommands;
  readonly command: Command;
  readonly inventory: Inventory;
  readonly medium: Medium;
  /** What an operation takes at least. */
  readonly durationMs: number;
  /** Status of firmware that waits for a reset, if any does. */
  pendingActivation(): number | undefined;
  /** Grows with every command that changes blocks. */
  changes(): number;
  begun(): void;
  /** An operation or a failure mode began or ended; namespaces may be other objects than before. */
  changed(): void;
  /** An operation has completed or failed. @param info of the event */
  completed(info: number): void;
}

/**
 * Sanitize: erases the whole medium, including space that belongs to no namespace. An operation continues after a reset, and
 * begins again with the next emulator of the same file. During an operation and after a failure, most commands are refused.
 */
export class Sanitize implements AdminService {
  readonly commands = {
    [AdminOpcode.sanitize]: {
      execute: () => this.execute(),
      effects: CommandEffects.LBCC,
      allowedDuringSanitize: true,
      lockable: true,
    },
  };
  readonly logPages = { [LogPageId.sanitizeStatus]: { page: () => this.page() } };
  readonly saved = savedPart(
    "sanitize",
    sanitizeState,
    () => this.save(),
    (saved) => this.load(saved),
  );
  /** Is paused and ended with the controller. */
  readonly work: BackgroundWork;
  /** An injected fault makes the operation fail half way. */
  private fails = false;
  /** changes() when all was erased; -1 if that isn't known. */
  private erasedAt = -1;

  constructor(private readonly context: SanitizeContext) {
    this.work = new BackgroundWork({ advance: (upTo) => this.advance(upTo), finished: () => this.finish() });
  }

  refusal(): number {
    const status = this.ioRefusal();
    return status !== NvmeStatus.success && this.allows() ? NvmeStatus.success : status;
  }

  ioRefusal(): number {
    const { status, isLocked } = this.context.inventory.persistent.sanitize;
    if (status === SanitizeStatus.inProgress) return NvmeStatus.sanitizeInProgress;
    return isLocked ? NvmeStatus.sanitizeFailed : NvmeStatus.success;
  }

  /** Whether the current admin command is executed even during an operation and after one that failed. */
  private allows(): boolean {
    const { command } = this.context;
    if (command.opcode === AdminOpcode.getLogPage) return allowedLogs.has(command.cdw(10) & 0xff);
    return this.context.commands.get(command.opcode)?.allowedDuringSanitize === true;
  }

  private execute(): number {
    const { command, inventory } = this.context;
    const { sanitize } = inventory.persistent;
    const cdw10 = command.cdw(10);
    const action = cdw10 & 7;
    if (sanitize.status === SanitizeStatus.inProgress) return NvmeStatus.sanitizeInProgress;
    const isRestricted = sanitize.isLocked && (sanitize.cdw10 & UNRESTRICTED_EXIT) === 0;
    if (action === Action.exitFailure) {
      if (isRestricted) return NvmeStatus.sanitizeFailed;
      inventory.persist({ sanitize: { ...sanitize, isLocked: false } });
      this.context.changed();
      return NvmeStatus.success;
    }
    if (action < Action.blockErase || action > Action.cryptoErase) return NvmeStatus.invalidField;
    if ((cdw10 & VERIFICATION) !== 0) return NvmeStatus.invalidField;
    if (isRestricted && (cdw10 & UNRESTRICTED_EXIT) !== 0) return NvmeStatus.sanitizeFailed;
    const pending = this.context.pendingActivation();
    if (pending !== undefined) return pending;
    this.fails = command.failsLater;
    const { inProgress } = SanitizeStatus;
    inventory.persist({
      sanitize: { status: inProgress, cdw10, pattern: command.cdw(11), passes: 0, isLocked: false },
    });
    this.context.begun();
    this.context.changed();
    this.work.start(this.context.durationMs);
    return NvmeStatus.success;
  }

  /** The Sanitize Status log. */
  private page(): Uint8Array {
    const { persistent } = this.context.inventory;
    const { status, cdw10, passes } = persistent.sanitize;
    const isRunning = status === SanitizeStatus.inProgress;
    const { durationMs } = this.context;
    const time = durationMs === 0 ? TIME_UNKNOWN : Math.ceil(durationMs / 1000);
    return sanitizeLog.encode({
      progress: isRunning ? Math.min(0xfffe, Math.floor(this.work.done * PROGRESS_WHOLE)) : NOT_IN_PROGRESS,
      status,
      overwritePasses: isRunning ? this.passesDone : passes,
      globalDataErased: this.isErased ? 1 : 0,
      cdw10,
      overwriteTime: time,
      blockEraseTime: time,
      cryptoEraseTime: time,
      overwriteNoDeallocateTime: time,
      blockEraseNoDeallocateTime: time,
      cryptoEraseNoDeallocateTime: time,
    });
  }

  /** An operation that had begun on the medium begins again. */
  mediumLoaded(): void {
    this.begin(0);
  }

  /** @param done the part of an operation that is known to be done */
  private begin(done: number): void {
    this.work.stop();
    this.erasedAt = -1;
    this.fails = false;
    if (this.context.inventory.persistent.sanitize.status === SanitizeStatus.inProgress) {
      this.work.start(this.context.durationMs, done);
    }
  }

  private save(): SanitizeState {
    return { done: this.work.done, fails: this.fails, isErased: this.isErased };
  }

  /** After the medium was loaded. */
  private load({ done, fails, isErased }: SanitizeState): void {
    this.begin(done);
    this.fails = fails;
    this.erasedAt = isErased ? this.context.changes() : -1;
  }

  private get isErased(): boolean {
    return this.erasedAt === this.context.changes();
  }

  /** Passes over the medium. */
  private get passes(): number {
    const { cdw10 } = this.context.inventory.persistent.sanitize;
    if ((cdw10 & 7) !== Action.overwrite) return 1;
    return (cdw10 >>> 4) & 0xf || MOST_PASSES;
  }

  private get passesDone(): number {
    const { cdw10 } = this.context.inventory.persistent.sanitize;
    return (cdw10 & 7) === Action.overwrite ? Math.floor(this.work.done * this.passes) : 0;
  }

  /** Erases up to this part of the whole. @returns how far it came */
  private advance(upTo: number): number {
    const { inventory, medium } = this.context;
    const { cdw10 } = inventory.persistent.sanitize;
    const areaBytes = inventory.layout.blocksBytes;
    const total = areaBytes * this.passes;
    const from = Math.round(this.work.done * total);
    const pass = Math.min(this.passes - 1, Math.floor(from / areaBytes));
    const action = cdw10 & 7;
    const writes =
      action === Action.overwrite || (action === Action.cryptoErase && (cdw10 & NO_DEALLOCATE) !== 0);
    const most = writes ? WRITE_BYTES : ZERO_BYTES;
    const to = Math.min(Math.floor(upTo * total), from + most, (pass + 1) * areaBytes);
    const at = from - pass * areaBytes;
    const done = writes
      ? medium.write(at, this.contents(at, to - from, pass), 0, to - from)
      : medium.fill(at, to - from, 0);
    if (!done || (this.fails && to >= total / 2)) {
      this.fail();
      return this.work.done;
    }
    return to >= total ? 1 : to / total;
  }

  /** The bytes to write to a place. */
  private contents(at: number, lengthBytes: number, pass: number): Uint8Array {
    const { cdw10, pattern } = this.context.inventory.persistent.sanitize;
    const bytes = new Uint8Array(lengthBytes);
    if ((cdw10 & 7) === Action.cryptoErase) return randomFillSync(bytes);
    const word = new Uint8Array(4);
    const isInverted = (cdw10 & INVERT) !== 0 && pass % 2 === 1;
    new DataView(word.buffer).setUint32(0, isInverted ? ~pattern : pattern, true);
    for (let i = 0; i < 4; i++) bytes[i] = word[(at + i) % 4] ?? 0;
    for (let filled = 4; filled < lengthBytes; filled *= 2) bytes.copyWithin(filled, 0, filled);
    return bytes;
  }

  private finish(): void {
    const { inventory, medium } = this.context;
    const { sanitize } = inventory.persistent;
    const deallocates = (sanitize.cdw10 & NO_DEALLOCATE) === 0;
    const isErased =
      (!deallocates || medium.fill(0, inventory.layout.blocksBytes, 0)) &&
      inventory.renew(deallocates) &&
      medium.flush();
    if (!isErased) {
      this.fail();
      return;
    }
    const passes = (sanitize.cdw10 & 7) === Action.overwrite ? this.passes : 0;
    inventory.persist({ sanitize: { ...sanitize, status: SanitizeStatus.completed, passes } });
    this.erasedAt = this.context.changes();
    this.end();
  }

  private fail(): void {
    const { inventory } = this.context;
    const passes = this.passesDone;
    this.work.stop();
    inventory.renew(false);
    inventory.persist({
      sanitize: { ...inventory.persistent.sanitize, status: SanitizeStatus.failed, passes, isLocked: true },
    });
    this.end();
  }

  private end(): void {
    this.context.changed();
    this.context.completed(AsyncEventInfo.ioCommandSet.sanitizeCompleted);
  }
}
