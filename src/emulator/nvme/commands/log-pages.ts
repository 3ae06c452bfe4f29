/** The Get Log Page command. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { KeyValueOpcode } from "../../../nvme/spec/key-value.js";
import {
  CommandEffects,
  CriticalWarning,
  commandEffectsLog,
  type ErrorLogEntry,
  errorLogEntry,
  smartLog,
} from "../../../nvme/spec/log-pages.js";
import {
  AsyncEventInfo,
  AsyncEventType,
  CommandSet,
  IoOpcode,
  LogPageId,
} from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { Transfer } from "../host/transfer.js";
import { amount, count, u32 } from "../medium/state-schema.js";
import type { AsyncEvents } from "../queues/async-events.js";
import type { AdminCommands } from "./admin-service.js";
import { type Features, TEMPERATURE } from "./features.js";
import { ERROR_LOG_ENTRIES } from "./identify.js";
import { IoCounter } from "./io/outcomes.js";
import type { LogProvider } from "./log-page.js";

/** The part of a migration state that holds the log pages. */
export const logPagesState = lazily(() =>
  z.strictObject({
    errors: z.array(z.string().check(z.regex(/^([0-9a-f]{2}){64}$/))).check(z.maxLength(64)),
    errorCount: count(),
    changed: z.array(u32()).check(z.maxLength(4096)),
    poweredMs: amount(),
  }),
);
export type LogPagesState = z.output<ReturnType<typeof logPagesState>>;

/** SMART counts in thousands of 512 bytes. */
const DATA_UNIT_BYTES = 512_000;
const RETAIN_EVENT = 1 << 15;
/** CDW14, OT. */
const OFFSET_IS_INDEX = 1 << 23;
/** More changed namespaces than the list holds. */
const TOO_MANY_CHANGED = 0xffff_ffff;
const CHANGED_LIST_ENTRIES = 1024;
/** Asynchronous Event Configuration: the host wants to know of temperatures. */
const SMART_TEMPERATURE = 1 << 1;

const supported: readonly number[] = [
  LogPageId.supportedLogPages,
  LogPageId.errorInformation,
  LogPageId.smart,
  LogPageId.changedNamespaces,
  LogPageId.commandsSupported,
];

/** Get Log Page. */
export class LogPages {
  private readonly provided = new Map<number, LogProvider>();
  private readonly errors: ErrorLogEntry[] = [];
  private errorCount = 0;
  private readonly changed = new Set<number>();
  private since = Date.now();

  constructor(
    private readonly command: Command,
    private readonly transfer: Transfer,
    private readonly features: Features,
    private readonly events: AsyncEvents,
    private readonly counters: Float64Array,
    private readonly isNamespace: (nsid: number) => boolean,
    private readonly commands: AdminCommands,
    /** Every offset is 0. */
    private readonly ignoresOffset: boolean,
  ) {}

  /** Adds a page. */
  provide(id: number, provider: LogProvider): void {
    this.provided.set(id, provider);
  }

  /** Hours since power came. */
  get poweredHours(): number {
    return Math.floor((Date.now() - this.since) / 3_600_000);
  }

  execute(): number {
    const { command } = this;
    const id = command.cdw(10) & 0xff;
    const dwords = (command.cdw(11) & 0xffff) * 65536 + (command.cdw(10) >>> 16) + 1;
    const lengthBytes = dwords * 4;
    const offset = this.ignoresOffset ? 0 : command.cdw(13) * 2 ** 32 + command.cdw(12);
    // The specification gives none of these pages entries that an index could name (Supported Log Pages, IOS).
    if ((command.cdw(14) & OFFSET_IS_INDEX) !== 0) {
      return supported.includes(id) || this.provided.has(id)
        ? NvmeStatus.invalidField
        : NvmeStatus.invalidLogPage;
    }
    if (offset % 4 !== 0) return NvmeStatus.invalidField;
    const page = this.page(id, command.cdw(14) >>> 24);
    if (typeof page === "number") return page;
    if (offset > page.length) return NvmeStatus.invalidField;
    if (lengthBytes > MAX_LOG_BYTES) return NvmeStatus.invalidField;
    // Beyond its end a log page is zeros.
    const part = new Uint8Array(lengthBytes);
    part.set(page.subarray(offset, offset + lengthBytes));
    const status = this.transfer.send(command, part);
    if (status === NvmeStatus.success && (command.cdw(10) & RETAIN_EVENT) === 0) {
      if (id === LogPageId.changedNamespaces) this.changed.clear();
      this.provided.get(id)?.read?.();
      this.events.logPageRead(id);
    }
    return status;
  }

  /** A command that failed goes into the error log. */
  recordError(status: number, sqid: number): void {
    const { command } = this;
    this.errorCount++;
    this.errors.unshift({
      errorCount: BigInt(this.errorCount),
      sqid,
      cid: command.cid,
      status: status << 1,
      parameterErrorLocation: 0xffff,
      lba: BigInt(sqid === 0 ? 0 : command.slba),
      nsid: command.nsid,
      vendorSpecific: 0,
      trtype: 0,
      csi: 0,
      opcode: command.opcode,
      commandSpecific: 0n,
      transportSpecific: 0,
      logPageVersion: 0,
    });
    this.errors.length = Math.min(this.errors.length, ERROR_LOG_ENTRIES);
  }

  save(): LogPagesState {
    return {
      errors: this.errors.map((entry) => Buffer.from(errorLogEntry.encode(entry)).toString("hex")),
      errorCount: this.errorCount,
      changed: [...this.changed],
      poweredMs: Date.now() - this.since,
    };
  }

  load({ errors, errorCount, changed, poweredMs }: LogPagesState): void {
    this.errors.splice(0);
    for (const hex of errors) this.errors.push(errorLogEntry.decode(Buffer.from(hex, "hex")));
    this.errorCount = errorCount;
    this.changed.clear();
    for (const nsid of changed) this.changed.add(nsid);
    this.since = Date.now() - poweredMs;
  }

  namespaceChanged(nsid: number): void {
    this.changed.add(nsid);
  }

  /** Whether the thermometer stands beyond a threshold. */
  private get temperatureWarning(): boolean {
    const { over, under } = this.features.temperatureLimits;
    return TEMPERATURE >= over || TEMPERATURE <= under;
  }

  /** The thermometer or a threshold changed: raises the event that the host may have asked for. */
  checkTemperature(): void {
    if (!this.temperatureWarning || (this.features.asyncEventConfig & SMART_TEMPERATURE) === 0) return;
    this.events.raise(AsyncEventType.smart, AsyncEventInfo.smart.temperature, LogPageId.smart);
  }

  private page(id: number, csi: number): Uint8Array | number {
    switch (id) {
      case LogPageId.supportedLogPages: {
        const page = new Uint32Array(256);
        for (const one of [...supported, ...this.provided.keys()]) page[one] = 1;
        return new Uint8Array(page.buffer);
      }
      case LogPageId.errorInformation: {
        const page = new Uint8Array(ERROR_LOG_ENTRIES * errorLogEntry.sizeBytes);
        for (const [i, entry] of this.errors.entries()) {
          page.set(errorLogEntry.encode(entry), i * errorLogEntry.sizeBytes);
        }
        return page;
      }
      case LogPageId.smart:
        // There is one health for the controller and all its namespaces.
        if (!this.isController(this.command.nsid) && !this.isNamespace(this.command.nsid)) {
          return NvmeStatus.invalidNamespace;
        }
        return this.isController(this.command.nsid) ? this.smart() : NvmeStatus.invalidField;
      case LogPageId.changedNamespaces: {
        const page = new Uint32Array(CHANGED_LIST_ENTRIES);
        const ids = [...this.changed].sort((a, b) => a - b);
        if (ids.length > CHANGED_LIST_ENTRIES) page[0] = TOO_MANY_CHANGED;
        else page.set(ids);
        return new Uint8Array(page.buffer);
      }
      case LogPageId.commandsSupported:
        return commandsSupported(csi, this.commands);
      default:
        return this.provided.get(id)?.page() ?? NvmeStatus.invalidLogPage;
    }
  }

  private isController(nsid: number): boolean {
    return nsid === 0 || nsid === 0xffff_ffff;
  }

  private smart(): Uint8Array {
    const count = (which: number): number => this.counters[which] ?? 0;
    const units = (bytes: number): bigint => BigInt(Math.ceil(bytes / DATA_UNIT_BYTES));
    return smartLog.encode({
      criticalWarning: this.temperatureWarning ? CriticalWarning.temperature : 0,
      compositeTemperature: TEMPERATURE,
      availableSpare: 100,
      availableSpareThreshold: 10,
      percentageUsed: 0,
      dataUnitsRead: units(count(IoCounter.bytesRead)),
      dataUnitsWritten: units(count(IoCounter.bytesWritten)),
      hostReadCommands: BigInt(count(IoCounter.readCommands)),
      hostWriteCommands: BigInt(count(IoCounter.writeCommands)),
      powerCycles: 1n,
      powerOnHours: BigInt(this.poweredHours),
      mediaErrors: BigInt(count(IoCounter.mediaErrors)),
      errorLogEntries: BigInt(this.errorCount),
      temperatureSensors: [TEMPERATURE],
    });
  }
}

/** The longest part that one command can read: the longest transfer of any emulated controller. */
const MAX_LOG_BYTES = 4 << 20;

function commandsSupported(csi: number, commands: AdminCommands): Uint8Array | number {
  const { CSUPP, LBCC } = CommandEffects;
  if (csi !== CommandSet.nvm && csi !== CommandSet.keyValue && csi !== CommandSet.zoned)
    return NvmeStatus.invalidField;
  const acs = new Array<number>(256).fill(0);
  for (const [opcode, { effects = 0 }] of commands) acs[opcode] = CSUPP | effects;
  const iocs = new Array<number>(256).fill(0);
  if (csi === CommandSet.keyValue) {
    const { store, delete: remove } = KeyValueOpcode;
    for (const opcode of [IoOpcode.flush, IoOpcode.cancel, ...Object.values(KeyValueOpcode)])
      iocs[opcode] = CSUPP | (opcode === store || opcode === remove ? LBCC : 0);
    return commandEffectsLog.encode({ acs, iocs });
  }
  const zoneOpcodes: readonly number[] = [
    IoOpcode.zoneAppend,
    IoOpcode.zoneManagementSend,
    IoOpcode.zoneManagementReceive,
  ];
  const changing: readonly number[] = [
    IoOpcode.write,
    IoOpcode.writeUncorrectable,
    IoOpcode.writeZeroes,
    IoOpcode.datasetManagement,
    IoOpcode.copy,
    IoOpcode.zoneAppend,
    IoOpcode.zoneManagementSend,
  ];
  for (const opcode of Object.values(IoOpcode)) {
    if (csi === CommandSet.nvm && zoneOpcodes.includes(opcode)) continue;
    iocs[opcode] = CSUPP | (changing.includes(opcode) ? LBCC : 0);
  }
  return commandEffectsLog.encode({ acs, iocs });
}
