/** The services behind admin commands, as the controller uses them. */
import * as z from "zod/mini";
import { ArgumentError } from "../../../core/errors.js";
import { lazily } from "../../../core/lazy.js";
import type { AnaStateName } from "../../../nvme/spec/log-pages.js";
import { SelfTestResult } from "../../../nvme/spec/log-pages.js";
import { AsyncEventInfo, AsyncEventType, LogPageId } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { HostMemory } from "../host/host-memory.js";
import type { HostMemoryUse } from "../host/host-memory-use.js";
import type { Oddities } from "../host/oddities.js";
import type { Transfer } from "../host/transfer.js";
import type { FirmwareReset } from "../medium/firmware-image.js";
import type { Inventory } from "../medium/inventory.js";
import type { KeptParts } from "../medium/kept-parts.js";
import type { Medium } from "../medium/medium.js";
import type { OpalLocks } from "../medium/opal-locks.js";
import { OpalTper } from "../medium/opal-tper.js";
import { reachabilityLogs } from "../medium/reachability.js";
import type { AsyncEvents } from "../queues/async-events.js";
import type { DelayedCommands } from "../queues/delayed-commands.js";
import type { IoWatch } from "../queues/io-watch.js";
import type { QueueSet } from "../queues/queue-set.js";
import type { Registers } from "../queues/registers.js";
import type { AdminCommand, AdminService, NamespaceChange, SavedPart } from "./admin-service.js";
import { AsymmetricAccess } from "./asymmetric-access.js";
import { bootPartitionService } from "./boot-partition-service.js";
import { EnduranceGroup } from "./endurance-group.js";
import type { Features } from "./features.js";
import { Firmware } from "./firmware.js";
import { HostMemoryCache, withoutHostMemory } from "./host-memory-cache.js";
import type { NvmCommands } from "./io/nvm.js";
import { LbaStatus } from "./lba-status.js";
import { LockdownCommands } from "./lockdown.js";
import type { LogPages } from "./log-pages.js";
import { ManagementCommands } from "./management.js";
import { Notice, type Notices } from "./notices.js";
import { PowerStates } from "./power-states.js";
import { Sanitize } from "./sanitize.js";
import { SecurityCommands } from "./security.js";
import { SelfTest } from "./self-test.js";
import { Telemetry, type TelemetryAreas } from "./telemetry.js";

/** The services' part of a migration state, by the name of each service, which checks its own. */
export const servicesState = lazily(() => z.record(z.string(), z.unknown()));
type ServicesState = z.output<ReturnType<typeof servicesState>>;

/** Options of the controller that the services use. */
export interface ServiceConfig {
  readonly serial: string;
  readonly blockSizeBytes: number;
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
  /** Power states that there are. */
  readonly powerStates: number;
  readonly odd: Pick<Oddities, "failsInOwnPowerState" | "failsInDeepestPowerState">;
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
  readonly delayed: DelayedCommands;
  readonly state: { readonly isRunning: boolean };
  /** What is called before I/O commands. */
  readonly watches: IoWatch[];
  /** Targets of the Replay Protected Memory Block, and boot partitions. */
  readonly kept: KeptParts;
  /** What TCG Opal locks; undefined without it. */
  readonly locks: OpalLocks | undefined;
  /** Sets CSTS.CFS. */
  fail(): void;
  /** What blocks are read from and written to from now on. */
  useMedium(medium: Medium): void;
  /** Namespaces are other objects, or may be used or not used any more. */
  listNamespaces(): void;
}

/**
 * Makes the services and passes on to each of them what happens. A new service is one more entry of the list in the
 * constructor; it brings its commands, log pages, features and saved state itself.
 */
export class AdminServices {
  private readonly selfTest: SelfTest;
  private readonly firmware: Firmware;
  private readonly telemetry: Telemetry;
  private readonly access: AsymmetricAccess;
  /** Undefined if the controller asks for none. */
  private readonly hostMemory: HostMemoryCache | undefined;
  private readonly services: readonly AdminService[];

  constructor(private readonly context: ServiceContext) {
    const { config, nvm, events, notices, logPages, kept } = context;
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
      bootPartitions: kept.bootPartitions,
      activating: () => {
        const { firmwareActivationStarting } = AsyncEventInfo.notice;
        notices.raise(Notice.firmwareActivation, firmwareActivationStarting, LogPageId.firmwareSlot);
      },
    });
    const erased = (): void => {
      this.hostMemory?.clear();
      context.listNamespaces();
    };
    const { locks } = context;
    const opal = locks && {
      locks,
      tper: new OpalTper(locks, config.serial, config.blockSizeBytes, () => {
        const done = context.inventory.renew(true);
        erased();
        return done;
      }),
    };
    const sanitize = new Sanitize({
      ...context,
      durationMs: config.sanitizeMs,
      pendingActivation: () => this.firmware.pending,
      changes: () => nvm.changes,
      begun: () => this.selfTest.abort(SelfTestResult.abortedBySanitize),
      changed: erased,
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
    // Of several that refuse a command, the first gives the status.
    this.services = [
      sanitize,
      new LockdownCommands(context.command, context.commands),
      this.access,
      this.selfTest,
      this.firmware,
      this.telemetry,
      new SecurityCommands(context.command, context.transfer, config.maxTransferBytes, kept.rpmb, opal),
      new EnduranceGroup(context),
      new PowerStates({ ...context, count: config.powerStates, odd: config.odd }),
      this.hostMemory ?? withoutHostMemory,
      new LbaStatus(context),
      context.nvm.reservations.host,
      reachabilityLogs(context.command, context.inventory),
      new ManagementCommands(context),
      ...(kept.bootPartitions === undefined
        ? []
        : [bootPartitionService(context.command, kept.bootPartitions)]),
      { mediumLoaded: () => kept.load() },
    ];
    for (const { commands = {}, logPages: pages = {}, features = {} } of this.services) {
      for (const [opcode, command] of Object.entries(commands)) context.commands.set(Number(opcode), command);
      for (const [id, page] of Object.entries(pages)) logPages.provide(Number(id), page);
      for (const [id, feature] of Object.entries(features)) context.features.provide(Number(id), feature);
    }
  }

  /** Status of the current admin command if a service forbids it; success otherwise. */
  refusal(): number {
    for (const service of this.services) {
      const status = service.refusal?.() ?? NvmeStatus.success;
      if (status !== NvmeStatus.success) return status;
    }
    return NvmeStatus.success;
  }

  /** The same for all I/O commands to a namespace; FFFFFFFFh for those to all namespaces. */
  ioRefusal(nsid: number): number {
    for (const service of this.services) {
      const status = service.ioRefusal?.(nsid) ?? NvmeStatus.success;
      if (status !== NvmeStatus.success) return status;
    }
    return NvmeStatus.success;
  }

  /** @throws ConfigError where there is no such group or state */
  setAnaState(group: number, state: AnaStateName): void {
    this.access.set(group, state);
  }

  namespaceChanged(nsid: number, change: NamespaceChange): void {
    for (const service of this.services) service.namespaceChanged?.(nsid, change);
  }

  /** Captures the state of the controller in its telemetry log, and tells the host. @param reason up to 128 characters */
  captureTelemetry(reason: string): void {
    this.telemetry.capture(reason);
  }

  /** How the memory of the host is used; undefined if the controller asks for none. */
  get hostMemoryUse(): HostMemoryUse | undefined {
    return this.hostMemory?.usage;
  }

  /** The controller is shut down. */
  shutdown(): void {
    for (const service of this.services) service.shutdown?.();
  }

  /** The controller executes commands from now on. */
  started(): void {
    for (const service of this.services) service.started?.();
  }

  reset(kind: FirmwareReset): void {
    for (const service of this.services) service.reset?.(kind);
  }

  /** The controller is powered on with a medium of its own. */
  powerOn(): void {
    this.reset("subsystem");
    this.mediumLoaded();
  }

  /** The medium was opened, or its contents came from another emulator. */
  mediumLoaded(): void {
    for (const service of this.services) service.mediumLoaded?.();
  }

  private get background(): readonly NonNullable<AdminService["work"]>[] {
    return this.services.flatMap(({ work }) => (work === undefined ? [] : [work]));
  }

  /** Stops background work until resume(). */
  pause(): void {
    for (const work of this.background) work.pause();
  }

  resume(): void {
    for (const work of this.background) work.resume();
  }

  close(): void {
    for (const work of this.background) work.stop();
  }

  private get savedParts(): readonly SavedPart[] {
    return this.services.flatMap(({ saved }) => (saved === undefined ? [] : [saved]));
  }

  save(): ServicesState {
    return Object.fromEntries(this.savedParts.map((part) => [part.name, part.save()]));
  }

  /**
   * Checks a saved state. Nothing changes before the result is called, which loads it; it goes on with resume().
   * @throws ArgumentError if the state is invalid
   */
  prepare(saved: ServicesState): () => void {
    const parts = this.savedParts;
    const unknown = Object.keys(saved).find((name) => !parts.some((part) => part.name === name));
    if (unknown !== undefined)
      throw new ArgumentError(
        `invalid saved state: services.${unknown}: this controller has no such service`,
      );
    const loads = parts.map((part) => part.prepare(saved[part.name]));
    return () => {
      for (const load of loads) load();
    };
  }

  /** The contents of telemetry: the controller, its queues, and errors. */
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
        persistent: inventory.persistent,
        namespaces: inventory.all.map(({ record, attached }) => ({ ...record, attached })),
        ...uptime,
      },
      { queues: queues.save(), features: features.save() },
      { errorCount, errors },
    ];
  }
}
