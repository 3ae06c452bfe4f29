/** The services behind admin commands, composed: their reset, power and saved state. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { enduranceGroupLog, SelfTestResult } from "../../../nvme/spec/log-pages.js";
import {
  AdminOpcode,
  AsyncEventInfo,
  AsyncEventType,
  BROADCAST_NSID,
  FeatureId,
  LogPageId,
} from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { HostMemory } from "../host/host-memory.js";
import type { Transfer } from "../host/transfer.js";
import type { FirmwareReset } from "../medium/firmware-image.js";
import type { Inventory } from "../medium/inventory.js";
import type { Medium } from "../medium/medium.js";
import type { AsyncEvents } from "../queues/async-events.js";
import type { QueueSet } from "../queues/queue-set.js";
import type { Registers } from "../queues/registers.js";
import type { AdminCommand, AdminService } from "./admin-service.js";
import { type AnaStateName, AsymmetricAccess, accessState } from "./asymmetric-access.js";
import type { BackgroundWork } from "./background-work.js";
import type { Features } from "./features.js";
import { Firmware, firmwareState } from "./firmware.js";
import { HostMemoryCache, type HostMemoryUse, hostMemoryState } from "./host-memory-cache.js";
import { ENDURANCE_GROUP } from "./identify.js";
import { IoCounter } from "./io-context.js";
import { LockdownCommands, lockdownState } from "./lockdown.js";
import type { LogPages } from "./log-pages.js";
import type { NamespaceChange } from "./namespace.js";
import { Notice, type Notices } from "./notices.js";
import type { NvmCommands } from "./nvm.js";
import { Sanitize, sanitizeState } from "./sanitize.js";
import { SecurityCommands } from "./security.js";
import { SelfTest, selfTestState } from "./self-test.js";
import { Telemetry, type TelemetryAreas, telemetryState } from "./telemetry.js";

/** The part of a migration state that holds what goes on in the background, and what admin commands have set that isn't a feature. */
export const servicesState = lazily(() =>
  z.strictObject({
    selfTest: selfTestState(),
    sanitize: sanitizeState(),
    firmware: firmwareState(),
    telemetry: telemetryState(),
    hostMemory: hostMemoryState(),
    access: accessState(),
    lockdown: lockdownState(),
  }),
);
export type ServicesState = z.output<ReturnType<typeof servicesState>>;

/** The endurance group's log counts in these. */
const ENDURANCE_UNIT_BYTES = 1_000_000_000;

/** Options of the controller that the services use. */
export interface ServiceConfig {
  readonly serial: string;
  readonly queuePairs: number;
  readonly queueEntries: number;
  readonly maxTransferBytes: number;
  readonly shortSelfTestMs: number;
  readonly extendedSelfTestMs: number;
  readonly sanitizeMs: number;
  /** Host memory that the controller asks for; 0 for none. */
  readonly hostMemoryBytes: number;
  /** Groups of asymmetric namespace access; 0 for none. */
  readonly anaGroups: number;
}

/** What the services need of their controller. */
export interface ServiceContext {
  readonly config: ServiceConfig;
  readonly command: Command;
  /** All admin commands that there are; the services add theirs. */
  readonly commands: Map<number, AdminCommand>;
  readonly transfer: Transfer;
  readonly inventory: Inventory;
  readonly medium: Medium;
  readonly nvm: NvmCommands;
  readonly features: Features;
  readonly events: AsyncEvents;
  readonly notices: Notices;
  readonly logPages: LogPages;
  readonly memory: HostMemory;
  readonly registers: Registers;
  readonly queues: QueueSet;
  /** What blocks are read from and written to from now on. */
  useMedium(medium: Medium): void;
  /** Namespaces are other objects, or may be used or not used any more. */
  listNamespaces(): void;
}

/** Admin commands that have nothing to do with queues and namespaces, what they begin in the background, and their logs. */
export class AdminServices {
  private readonly selfTest: SelfTest;
  private readonly sanitize: Sanitize;
  private readonly firmware: Firmware;
  private readonly telemetry: Telemetry;
  private readonly access: AsymmetricAccess;
  private readonly lockdown: LockdownCommands;
  /** Undefined where the controller wants none. */
  private readonly hostMemory: HostMemoryCache | undefined;
  /** All of them: a new service is one more of these. */
  private readonly services: readonly AdminService[];

  constructor(private readonly context: ServiceContext) {
    const { config, nvm, events, notices, logPages } = context;
    this.selfTest = new SelfTest({
      ...context,
      shortMs: config.shortSelfTestMs,
      extendedMs: config.extendedSelfTestMs,
      poweredHours: () => logPages.poweredHours,
      failed: () => {
        events.raiseError(AsyncEventInfo.error.diagnosticFailure);
        this.captureTelemetry("self-test failed");
      },
    });
    this.firmware = new Firmware({
      ...context,
      maxTransferBytes: config.maxTransferBytes,
      activating: () => {
        const { firmwareActivationStarting } = AsyncEventInfo.notice;
        notices.raise(Notice.firmwareActivation, firmwareActivationStarting, LogPageId.firmwareSlot);
      },
    });
    this.sanitize = new Sanitize({
      ...context,
      durationMs: config.sanitizeMs,
      pendingActivation: () => this.firmware.pending,
      changes: () => nvm.changes,
      begun: () => this.selfTest.abort(SelfTestResult.abortedBySanitize),
      changed: () => {
        this.hostMemory?.clear();
        context.listNamespaces();
      },
      completed: (info) => events.raise(AsyncEventType.ioCommandSet, info, LogPageId.sanitizeStatus),
    });
    this.telemetry = new Telemetry({
      ...context,
      snapshot: () => this.snapshot(),
      captured: () => {
        const { telemetryLogChanged } = AsyncEventInfo.notice;
        notices.raise(Notice.telemetry, telemetryLogChanged, LogPageId.telemetryController);
      },
    });
    if (config.hostMemoryBytes > 0) {
      this.hostMemory = new HostMemoryCache({
        ...context,
        preferredBytes: config.hostMemoryBytes,
        pageBytes: () => context.registers.pageBytes,
        changes: () => nvm.changes,
        use: (medium) => context.useMedium(medium),
        damaged: () => events.raiseError(AsyncEventInfo.error.transientInternalError),
      });
    }
    this.access = new AsymmetricAccess({
      ...context,
      groups: config.anaGroups,
      changed: () => {
        context.listNamespaces();
        const { asymmetricNamespaceAccessChange } = AsyncEventInfo.notice;
        notices.raise(Notice.access, asymmetricNamespaceAccessChange, LogPageId.asymmetricNamespaceAccess);
      },
    });
    this.lockdown = new LockdownCommands(context.command, context.commands);
    this.services = [
      this.selfTest,
      this.sanitize,
      this.firmware,
      this.telemetry,
      this.access,
      this.lockdown,
      new SecurityCommands(context.command, context.transfer, config.maxTransferBytes),
      { logPages: { [LogPageId.enduranceGroup]: { page: () => this.enduranceGroup() } } },
      ...(this.hostMemory === undefined
        ? []
        : [{ features: { [FeatureId.hostMemoryBuffer]: this.hostMemory } }]),
    ];
    for (const { commands = {}, logPages: pages = {}, features = {} } of this.services) {
      for (const [opcode, command] of Object.entries(commands)) context.commands.set(Number(opcode), command);
      for (const [id, page] of Object.entries(pages)) logPages.provide(Number(id), page);
      for (const [id, feature] of Object.entries(features)) context.features.provide(Number(id), feature);
    }
  }

  /** Status of the current admin command where it isn't carried out now; success otherwise. */
  refusal(): number {
    const { refusal } = this.sanitize;
    if (refusal !== NvmeStatus.success && !this.sanitize.allows()) return refusal;
    if (this.lockdown.forbids) return NvmeStatus.commandProhibitedByLockdown;
    return this.accessRefusal();
  }

  /** Of admin commands, Format NVM and the features of a namespace have to reach it. */
  private accessRefusal(): number {
    const { command, inventory } = this.context;
    const { opcode, nsid } = command;
    const isFeature = opcode === AdminOpcode.getFeatures || opcode === AdminOpcode.setFeatures;
    const ofNamespace = isFeature && (command.cdw(10) & 0xff) === FeatureId.errorRecovery;
    if (opcode !== AdminOpcode.formatNvm && !ofNamespace) return NvmeStatus.success;
    const ids = nsid === BROADCAST_NSID ? inventory.all.map((namespace) => namespace.nsid) : [nsid];
    const refused = ids.map((id) => this.access.refusal(id));
    return refused.find((status) => status !== NvmeStatus.success) ?? NvmeStatus.success;
  }

  /** Status of all I/O commands to a namespace (FFFFFFFFh: to all) that aren't carried out now; success otherwise. */
  ioRefusal(nsid: number): number {
    const { refusal } = this.sanitize;
    if (refusal !== NvmeStatus.success || nsid === BROADCAST_NSID) return refusal;
    return this.access.refusal(nsid);
  }

  /** @throws ConfigError where there is no such group or state */
  setAnaState(group: number, state: AnaStateName): void {
    this.access.set(group, state);
  }

  namespaceChanged(nsid: number, change: NamespaceChange): void {
    if (change === "attached") return;
    const { abortedByFormat, abortedByNamespaceRemoval } = SelfTestResult;
    this.selfTest.namespaceGone(nsid, change === "formatted" ? abortedByFormat : abortedByNamespaceRemoval);
  }

  /** Keeps what there is to know of the controller, and tells the host. @param reason up to 128 characters */
  captureTelemetry(reason: string): void {
    this.telemetry.capture(reason);
  }

  /** How the memory of the host is used; undefined where none is wanted. */
  get hostMemoryUse(): HostMemoryUse | undefined {
    return this.hostMemory?.usage;
  }

  /** The host's memory isn't touched any more. */
  shutdown(): void {
    this.hostMemory?.takeBack();
  }

  reset(kind: FirmwareReset): void {
    this.hostMemory?.takeBack();
    this.selfTest.controllerReset();
    this.firmware.reset(kind);
  }

  /** Power came: the medium is ours, and what is on it is from before. */
  powerOn(): void {
    this.firmware.reset("subsystem");
    this.mediumLoaded();
  }

  /** The medium and what is on it came from another emulator. */
  mediumLoaded(): void {
    this.hostMemory?.clear();
    this.sanitize.mediumLoaded();
  }

  private get background(): readonly BackgroundWork[] {
    return this.services.flatMap(({ work }) => (work === undefined ? [] : [work]));
  }

  /** What goes on stands still. */
  pause(): void {
    for (const work of this.background) work.pause();
  }

  resume(): void {
    for (const work of this.background) work.resume();
  }

  close(): void {
    for (const work of this.background) work.stop();
  }

  save(): ServicesState {
    return {
      selfTest: this.selfTest.save(),
      sanitize: this.sanitize.save(),
      firmware: this.firmware.save(),
      telemetry: this.telemetry.save(),
      hostMemory: this.hostMemory?.save() ?? null,
      access: this.access.save(),
      lockdown: this.lockdown.save(),
    };
  }

  /** Puts it as it was saved; it goes on with resume(). */
  load(saved: ServicesState): void {
    const { selfTest, sanitize, firmware, telemetry, hostMemory, access, lockdown } = saved;
    this.access.load(access);
    this.lockdown.load(lockdown);
    this.telemetry.load(telemetry);
    this.hostMemory?.load(hostMemory);
    this.selfTest.load(selfTest);
    this.sanitize.load(sanitize);
    this.firmware.load(firmware);
  }

  /** Endurance Group Information of the only group there is. */
  private enduranceGroup(): Uint8Array | number {
    const { command, nvm, inventory, logPages } = this.context;
    if (command.cdw(11) >>> 16 !== ENDURANCE_GROUP) return NvmeStatus.invalidField;
    const count = (which: number): bigint => BigInt(nvm.counters[which] ?? 0);
    const units = (which: number): bigint =>
      BigInt(Math.ceil((nvm.counters[which] ?? 0) / ENDURANCE_UNIT_BYTES));
    return enduranceGroupLog.encode({
      availableSpare: 100,
      availableSpareThreshold: 10,
      dataUnitsRead: units(IoCounter.bytesRead),
      dataUnitsWritten: units(IoCounter.bytesWritten),
      mediaUnitsWritten: units(IoCounter.bytesWritten),
      hostReadCommands: count(IoCounter.readCommands),
      hostWriteCommands: count(IoCounter.writeCommands),
      mediaErrors: count(IoCounter.mediaErrors),
      errorLogEntries: BigInt(logPages.save().errorCount),
      totalCapacity: BigInt(inventory.layout.capacityBytes),
      unallocatedCapacity: BigInt(Math.max(0, inventory.unallocatedBytes)),
    });
  }

  /** What telemetry has: the controller, its queues, and what went wrong. */
  private snapshot(): TelemetryAreas {
    const { config, inventory, registers, features, queues, nvm, logPages } = this.context;
    const { serial, queuePairs, queueEntries, maxTransferBytes } = config;
    const { errors, errorCount, ...uptime } = logPages.save();
    return [
      {
        controller: { serial, queuePairs, queueEntries, maxTransferBytes },
        registers: registers.save(),
        counters: nvm.save().counters,
        hostMemory: this.hostMemory?.usage,
        kept: inventory.kept,
        namespaces: inventory.all.map(({ record, attached }) => ({ ...record, attached })),
        ...uptime,
      },
      { queues: queues.save(), features: features.save() },
      { errorCount, errors },
    ];
  }
}
