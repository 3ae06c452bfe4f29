/** The emulated NVMe controller: wires its parts together, and runs the loop that executes commands. */
import { Lease } from "../../core/lifetime/lease.js";
import { Resource } from "../../core/lifetime/resource.js";
import { AsyncEventInfo, AsyncEventType, BROADCAST_NSID, LogPageId } from "../../nvme/spec/opcodes.js";
import { SQE_WORDS } from "../../nvme/spec/queue-entries.js";
import {
  ArbitrationMechanism,
  CommandSetSelection,
  ControllerConfig,
  ControllerStatus,
  DOORBELL_BASE,
} from "../../nvme/spec/registers.js";
import { NvmeStatus } from "../../nvme/spec/status.js";
import { acquire, weaklyOrdered } from "../../sys/mmio.js";
import { PAGE_SIZE } from "../../sys/syscalls.js";
import type {
  DeviceHost,
  DeviceVectors,
  EmulatedBar,
  EmulatedDevice,
} from "../../vfio-user/server/emulated-device.js";
import { DOORBELL_BYTES, makeBars } from "./bars.js";
import { addAdminCommands, executeAdmin } from "./commands/admin.js";
import type { AdminCommand } from "./commands/admin-service.js";
import { AdminServices } from "./commands/admin-services.js";
import type { AnaStateName } from "./commands/asymmetric-access.js";
import { Features } from "./commands/features.js";
import type { HostMemoryUse } from "./commands/host-memory-cache.js";
import { CONTROLLER_ID, Identify } from "./commands/identify.js";
import type { IoContext } from "./commands/io-context.js";
import { LogPages } from "./commands/log-pages.js";
import { type NamespaceChange, NamespaceCommands } from "./commands/namespace.js";
import { NvmCommands } from "./commands/nvm.js";
import { MSIX_BAR_BYTES, nvmeConfigSpace } from "./config-space.js";
import { FaultExecution } from "./fault-execution.js";
import { type FaultOptions, Faults, parseFault } from "./faults.js";
import { CmbRules } from "./host/cmb-rules.js";
import { Command, PENDING } from "./host/command.js";
import { HostMemory } from "./host/host-memory.js";
import { Transfer } from "./host/transfer.js";
import type { FirmwareReset } from "./medium/firmware-image.js";
import type { Inventory } from "./medium/inventory.js";
import type { Medium } from "./medium/medium.js";
import type { EmulatedNamespace } from "./medium/namespace.js";
import { type MovedParts, NvmeMigration } from "./migration.js";
import { openMedium } from "./open-medium.js";
import { type NvmeEmulatorConfig, type NvmeEmulatorOptions, parseNvmeEmulatorOptions } from "./options.js";
import { WeightedRoundRobin } from "./queues/arbitration.js";
import { AsyncEvents } from "./queues/async-events.js";
import { CompletionPoster } from "./queues/completion-poster.js";
import { DelayedCommands } from "./queues/delayed-commands.js";
import { InterruptSignaller } from "./queues/interrupt-signaller.js";
import { Poller } from "./queues/poller.js";
import { QueueSet } from "./queues/queue-set.js";
import type { EmulatedSq } from "./queues/queues.js";
import { Registers } from "./queues/registers.js";
import { SharedPage } from "./shared-page.js";

/** CC.MPS at most: memory pages of 64 KiB. */
const MAX_MPS = 4;
// V8 compiles a constant of this module into the code, but looks an imported one up at each use.
const mustOrder = weaklyOrdered;

/** An NVMe controller in this process, to be served over vfio-user. */
export class EmulatedNvme extends Resource implements EmulatedDevice {
  readonly name = "emulated NVMe controller";
  readonly configSpace: Uint8Array;
  readonly bars: readonly (EmulatedBar | undefined)[];
  readonly vectors: DeviceVectors;
  /** Called when a `remove` fault unplugs the device: the server should let its client go. */
  onRemove: () => void = () => {};
  private readonly faults = new Faults();
  private readonly doorbells: Uint32Array;
  private readonly memory: HostMemory;
  private readonly registers: Registers;
  private readonly queues: QueueSet;
  private readonly command = new Command();
  private readonly events: AsyncEvents;
  private readonly features: Features;
  private readonly interrupts: InterruptSignaller;
  private readonly completions: CompletionPoster;
  private readonly delayed: DelayedCommands;
  private readonly faultExecution: FaultExecution;
  private readonly logPages: LogPages;
  private readonly nvm: NvmCommands;
  private readonly services: AdminServices;
  private readonly adminCommands = new Map<number, AdminCommand>();
  private readonly inventory: Inventory;
  private readonly transfer: Transfer;
  private readonly io: IoContext & {
    attached: (EmulatedNamespace | undefined)[];
    refusals: ReadonlyMap<number, number>;
    medium: Medium;
    allCommandSets: boolean;
  };
  private readonly poller: Poller | undefined;

  readonly migration: NvmeMigration;
  /** CSTS.RDY is set, and commands can be executed. */
  private running = false;
  /** A migration has stopped the controller. */
  private paused = false;
  private generation = -1;
  /** Undefined for round robin (CC.AMS). */
  private weighted: WeightedRoundRobin | undefined;
  private restoreTimer: NodeJS.Timeout | undefined;
  private keepAliveTimer: NodeJS.Timeout | undefined;

  private constructor(
    private readonly config: NvmeEmulatorConfig,
    medium: Medium & Resource,
    inventory: Inventory,
    doorbellPage: SharedPage,
    cmb: SharedPage | undefined,
    polled: boolean,
  ) {
    super(
      new Lease("emulated NVMe controller", () => {
        medium.flush();
        medium.close();
        doorbellPage.close();
        cmb?.close();
      }),
    );
    for (const part of [medium, doorbellPage, cmb]) part?.relinquish();
    this.doorbells = doorbellPage.memory.words;
    this.inventory = inventory;
    const { command } = this;
    const cmbRules = new CmbRules(config.cmbWithout);
    this.memory = new HostMemory(
      cmb === undefined ? undefined : { bytes: cmb.memory.bytes, words: cmb.memory.words, offset: 0 },
      cmbRules,
    );
    const vectors = Math.max(1, config.vectors);
    const transfer = new Transfer(this.memory, (sqid) => this.queues.isInCmb(sqid));
    this.transfer = transfer;
    const isNamespace = (nsid: number): boolean => inventory.get(nsid)?.attached === true;
    this.registers = new Registers(
      { maxQueueEntries: config.queueEntries, cmbBytes: config.cmbBytes, cmbRules },
      {
        enable: () => this.enable(),
        disable: () => this.controllerReset("controller"),
        shutdown: () => this.shutdown(),
        subsystemReset: () => {
          this.functionReset("subsystem");
          this.registers.status |= ControllerStatus.NSSRO;
        },
        unmask: () => this.interrupts.signal(),
        placeCmb: (base, sizeBytes) => this.memory.placeCmb(base, sizeBytes),
      },
    );
    this.queues = new QueueSet(
      { queuePairs: config.queuePairs, queueEntries: config.queueEntries, vectors },
      this.memory,
      this.doorbells,
      command,
    );
    this.events = new AsyncEvents((cid, dw0) =>
      this.completions.completeLater(0, cid, dw0, NvmeStatus.success),
    );
    this.features = new Features(
      {
        queuePairs: config.queuePairs,
        vectors,
      },
      command,
      transfer,
      {
        temperatureChanged: () => this.checkTemperature(),
        keepAliveChanged: (timeoutMs) => this.watchKeepAlive(timeoutMs),
      },
      isNamespace,
      inventory,
    );
    const pin = config.vectors === 0 ? this.registers : undefined;
    this.interrupts = new InterruptSignaller(this.features, vectors, pin);
    this.completions = new CompletionPoster(command, this.queues, this.interrupts, {
      failed: (status, sqid) => this.logPages.recordError(status, sqid),
      invalidDoorbell: (info) => this.invalidDoorbell(info),
      added: () => this.poller?.wake(),
    });
    const execute = (sq: EmulatedSq): number => (sq.id === 0 ? this.executeAdmin() : this.nvm.execute());
    this.delayed = new DelayedCommands(command, this.queues, this.completions, execute);
    this.faultExecution = new FaultExecution(command, this.completions, this.delayed, {
      execute,
      vanish: (durationMs) => this.vanish(durationMs),
      removed: () => this.onRemove(),
      fail: () => this.fail(),
    });
    this.io = {
      command,
      transfer,
      medium,
      attached: [],
      refusals: new Map(),
      maxTransferBytes: config.maxTransferBytes,
      allCommandSets: false,
      controllerId: CONTROLLER_ID,
      placements: config.placementHandles,
    };
    this.nvm = new NvmCommands(this.io);
    this.logPages = new LogPages(
      command,
      transfer,
      this.features,
      this.events,
      this.nvm.counters,
      isNamespace,
      this.adminCommands,
    );
    const { events, logPages } = this;
    this.services = new AdminServices({
      ...{
        config,
        command,
        commands: this.adminCommands,
        transfer,
        inventory,
        medium,
        nvm: this.nvm,
        features: this.features,
      },
      ...{ events, logPages, memory: this.memory, registers: this.registers, queues: this.queues },
      useMedium: (used) => {
        this.io.medium = used;
      },
      listNamespaces: () => this.listNamespaces(),
    });
    if (!config.incoming) this.services.powerOn();
    addAdminCommands(this.adminCommands, {
      command,
      registers: this.registers,
      queues: this.queues,
      identify: new Identify(config, inventory, command, transfer),
      features: this.features,
      logPages: this.logPages,
      events: this.events,
      namespaces: new NamespaceCommands(inventory, command, transfer, this.features, (nsid, change) =>
        this.namespaceChanged(nsid, change),
      ),
      abort: (sqid, cid) => this.abort(sqid, cid),
      queueDeleted: (sqid) => this.delayed.queueDeleted(sqid),
      keepAlive: () => this.keepAliveTimer?.refresh(),
    });
    this.listNamespaces();
    for (const fault of config.faults) this.faults.add(fault);
    if (polled) {
      this.poller = new Poller(
        { pump: () => this.pump(), beforeSleep: () => this.beforeSleep(), dueInMs: () => this.dueInMs() },
        {
          spinMs: config.spinMicroseconds / 1000,
          idleAfterMs: config.idleAfterMs,
          idlePollMs: this.doorbellsAreShared ? config.idlePollMs : undefined,
        },
      );
    }
    this.configSpace = nvmeConfigSpace(config.vectors, cmb !== undefined);
    this.vectors = { intx: 1, msi: 0, msix: config.vectors };
    const msix = new Uint8Array(MSIX_BAR_BYTES);
    this.bars = makeBars({
      registers: this.registers,
      queues: this.queues,
      doorbells: doorbellPage,
      doorbellsAreShared: this.doorbellsAreShared,
      cmb,
      msix: config.vectors > 0 ? msix : undefined,
      invalidDoorbell: (info) => {
        if (this.running) this.invalidDoorbell(info);
      },
      written: () => {
        if (this.running) this.poller?.wake();
      },
    });
    const parts = { inventory, medium, msix, cmb: cmb?.memory.bytes ?? new Uint8Array(0) };
    this.migration = this.makeMigration(parts);
  }

  /**
   * Makes a controller with its medium. A file that holds namespaces already is taken as it is.
   * @param polled drives itself from the event loop; otherwise its owner calls pump()
   * @throws ConfigError, SysError, UnsupportedError where there is no address space; nothing stays open
   */
  static create(options: NvmeEmulatorOptions = {}, polled = true): EmulatedNvme {
    const config = parseNvmeEmulatorOptions(options);
    const open: Resource[] = [];
    const keep = <T extends Resource>(part: T): T => {
      open.push(part);
      return part;
    };
    try {
      const { medium, inventory } = openMedium(config, keep);
      const doorbells = keep(SharedPage.create("nvme-doorbells", DOORBELL_BYTES, DOORBELL_BASE));
      const cmb = config.cmbBytes > 0 ? keep(SharedPage.create("nvme-cmb", config.cmbBytes)) : undefined;
      return new EmulatedNvme(
        { ...config, capacityBytes: inventory.layout.capacityBytes },
        medium,
        inventory,
        doorbells,
        cmb,
        polled,
      );
    } catch (error) {
      for (const part of open.reverse()) part.close();
      throw error;
    }
  }

  /** Injects a fault, from now on. @throws ConfigError */
  inject(fault: FaultOptions): void {
    this.faults.add(parseFault(fault));
  }

  /** Removes all faults, and plugs a removed device in again. */
  clearFaults(): void {
    this.faults.clear();
    this.restore();
  }

  /**
   * Lets the controller keep a Telemetry Controller-Initiated log, as it does when something went wrong.
   * @param reason the log's Reason Identifier, of which 128 characters count
   */
  captureTelemetry(reason: string): void {
    this.services.captureTelemetry(reason.slice(0, 128));
  }

  /**
   * Gives a group of namespaces another state of asymmetric access: commands to them are refused as the state wants it, and
   * the host gets an event where it asked for that.
   * @param group 1 to `anaGroups`
   * @throws ConfigError where there is no such group or state
   */
  setAnaState(group: number, state: AnaStateName): void {
    this.services.setAnaState(group, state);
  }

  /** How the controller uses the host's memory (HMB); undefined where it wants none. */
  get hostMemory(): HostMemoryUse | undefined {
    return this.services.hostMemoryUse;
  }

  connect(host: DeviceHost): void {
    this.interrupts.host = host;
    this.memory.attach(host.memory);
  }

  disconnect(): void {
    // Queues belong to the client, so they end as with a reset. Namespaces and data stay.
    this.functionReset("conventional");
    this.interrupts.host = undefined;
    this.memory.attach(undefined);
  }

  reset(): void {
    this.functionReset("conventional");
  }

  override close(): void {
    this.poller?.stop();
    clearTimeout(this.restoreTimer);
    clearTimeout(this.keepAliveTimer);
    this.services.close();
    this.running = false;
    super.close();
  }

  /**
   * Looks at all queues once, executes what is there, and raises interrupts. Never throws, whatever the host has put
   * where.
   * @returns how many commands and completions there were
   */
  pump(): number {
    if (!this.running || this.paused) return 0;
    const { generation } = this.memory;
    if (generation !== this.generation) {
      this.generation = generation;
      this.queues.remap();
    }
    let done = this.weighted === undefined ? this.serveInTurn() : this.serveByWeight(this.weighted);
    if (this.delayed.isWaiting) done += this.delayed.run();
    if (this.completions.isWaiting) done += this.completions.drain();
    if (this.interrupts.isWaiting) this.interrupts.signal();
    return done;
  }

  private serveInTurn(): number {
    let done = 0;
    const { active } = this.queues;
    for (let i = 0; i < active.length; i++) {
      const sq = active[i];
      if (sq === undefined) continue;
      const tail = sq.doorbell.words[sq.doorbell.index] ?? 0;
      if (tail !== sq.head) done += this.serve(sq, tail, Number.POSITIVE_INFINITY);
      // The set of queues changed, or the controller stopped.
      if (this.queues.active !== active || !this.running) break;
    }
    return done;
  }

  private serveByWeight(weighted: WeightedRoundRobin): number {
    const { active } = this.queues;
    return weighted.round(active, this.features.arbitration, (sq, limit) => {
      if (this.queues.active !== active || !this.running) return undefined;
      const tail = sq.doorbell.words[sq.doorbell.index] ?? 0;
      return tail === sq.head ? 0 : this.serve(sq, tail, limit);
    });
  }

  /** Executes entries up to `tail`, `limit` of them at most, as long as there is room for their completions. */
  private serve(sq: EmulatedSq, tail: number, limit: number): number {
    if (tail >= sq.entries) {
      if (sq.badTail !== tail) this.invalidDoorbell(AsyncEventInfo.error.invalidDoorbellValue);
      sq.badTail = tail;
      return 0;
    }
    const { cq, span } = sq;
    if (!sq.mapped || !cq.mapped) {
      this.fail();
      return 0;
    }
    if (mustOrder) acquire();
    const { command, completions } = this;
    const { sqe } = command;
    const { words } = span;
    const first = span.offset >>> 2;
    const isAdmin = sq.id === 0;
    let done = 0;
    while (done < limit && sq.head !== tail && completions.hasRoom(cq)) {
      const at = first + sq.head * SQE_WORDS;
      for (let i = 0; i < SQE_WORDS; i++) sqe[i] = words[at + i] ?? 0;
      sq.head = sq.head + 1 === sq.entries ? 0 : sq.head + 1;
      done++;
      command.sqid = sq.id;
      command.dw0 = 0;
      command.dw1 = 0;
      if (this.faults.active) {
        const fault = this.faults.next(sq.id, command.opcode, command.nsid);
        if (fault !== undefined) {
          this.faultExecution.execute(fault, sq);
          if (!this.running) break;
          continue;
        }
      }
      const status = isAdmin ? this.executeAdmin() : this.nvm.execute();
      if (status !== PENDING) completions.complete(sq, status);
      if (isAdmin && !this.running) break;
    }
    return done;
  }

  private executeAdmin(): number {
    return executeAdmin(this.command, this.adminCommands, this.services);
  }

  private abort(sqid: number, cid: number): boolean {
    const found = (sqid === 0 && this.events.abort(cid)) || this.delayed.abort(sqid, cid);
    if (found) this.completions.completeLater(sqid, cid, 0, NvmeStatus.commandAbortRequested);
    return found;
  }

  private enable(): void {
    const { registers, queues, transfer } = this;
    const { config, pageBytes, adminQueue } = registers;
    const css = (config >>> ControllerConfig.CSS_SHIFT) & 7;
    const mps = (config >>> ControllerConfig.MPS_SHIFT) & 0xf;
    const ams = (config >>> ControllerConfig.AMS_SHIFT) & 7;
    const { sq, sqEntries, cq, cqEntries } = adminQueue;
    registers.status &= ControllerStatus.NSSRO;
    queues.clear();
    const valid =
      (css === CommandSetSelection.nvm || css === CommandSetSelection.allSupported) &&
      mps <= MAX_MPS &&
      (ams === ArbitrationMechanism.roundRobin || ams === ArbitrationMechanism.weighted) &&
      sqEntries >= 2 &&
      cqEntries >= 2 &&
      sq % pageBytes === 0 &&
      cq % pageBytes === 0;
    this.generation = this.memory.generation;
    if (!valid || !this.migration.takeMedium() || !queues.createAdmin(sq, sqEntries, cq, cqEntries)) {
      this.fail();
      return;
    }
    transfer.prp.memoryPageBytes = pageBytes;
    this.takeMechanisms();
    registers.status |= ControllerStatus.RDY;
    this.running = true;
    this.poller?.wake();
  }

  /** How queues take turns and which command sets there are: CC.AMS and CC.CSS. */
  private takeMechanisms(): void {
    const { config } = this.registers;
    const ams = (config >>> ControllerConfig.AMS_SHIFT) & 7;
    const css = (config >>> ControllerConfig.CSS_SHIFT) & 7;
    this.weighted = ams === ArbitrationMechanism.weighted ? new WeightedRoundRobin() : undefined;
    this.io.allCommandSets = css === CommandSetSelection.allSupported;
  }

  private makeMigration(parts: Pick<MovedParts, "inventory" | "medium" | "cmb" | "msix">): NvmeMigration {
    const { registers, queues, features, events, logPages, nvm, services, delayed, config } = this;
    const { queuePairs, queueEntries, maxTransferBytes, vectors, serial, placementHandles } = config;
    const { capacityBytes, doorbells, cmbBytes, cmbWithout, hostMemoryBytes, anaGroups } = config;
    return new NvmeMigration(
      { registers, queues, features, events, logPages, nvm, services, delayed, ...parts },
      {
        shape: JSON.stringify({
          ...{ queuePairs, queueEntries, maxTransferBytes, vectors, serial, placementHandles },
          ...{ capacityBytes, doorbells, cmbBytes, cmbWithout, hostMemoryBytes, anaGroups },
        }),
        stop: () => {
          this.paused = true;
          this.poller?.stop();
          clearTimeout(this.keepAliveTimer);
          this.services.pause();
        },
        start: () => this.resume(),
        loaded: () => this.loaded(),
      },
      config.incoming,
    );
  }

  /** What follows from a state that was loaded. */
  private loaded(): void {
    const { registers, queues, transfer } = this;
    const { status, pageBytes } = registers;
    const stopped = ControllerStatus.CFS | ControllerStatus.SHST_MASK;
    this.listNamespaces();
    this.takeMechanisms();
    this.running = (status & (ControllerStatus.RDY | stopped)) === ControllerStatus.RDY;
    if (this.running) transfer.prp.memoryPageBytes = pageBytes;
    this.completions.load();
    this.interrupts.load(queues.cqs);
    this.generation = this.memory.generation;
  }

  /** After a migration, here or elsewhere. */
  private resume(): void {
    this.paused = false;
    if (!this.migration.takeMedium()) {
      this.fail();
      return;
    }
    this.features.resume();
    this.services.resume();
    if (this.running) this.poller?.wake();
  }

  /** CC.EN cleared: queues and features are gone, AQA, ASQ, ACQ and the CMB's place stay. */
  private controllerReset(kind: FirmwareReset): void {
    this.running = false;
    this.poller?.stop();
    this.queues.clear();
    this.nvm.reset();
    this.events.reset();
    this.features.reset();
    this.services.reset(kind);
    this.delayed.clear();
    this.interrupts.clear();
    this.completions.clear();
    this.registers.status &= ControllerStatus.NSSRO;
  }

  private functionReset(kind: FirmwareReset): void {
    this.controllerReset(kind);
    this.registers.reset();
  }

  private shutdown(): void {
    this.services.shutdown();
    this.io.medium.flush();
    this.running = false;
    this.registers.status =
      (this.registers.status & ~ControllerStatus.SHST_MASK) | ControllerStatus.SHST_COMPLETE;
  }

  /** Stops until the next reset: CSTS.CFS. */
  private fail(): void {
    this.running = false;
    this.registers.status |= ControllerStatus.CFS;
    this.services.captureTelemetry("fatal: CSTS.CFS");
  }

  private vanish(durationMs: number): void {
    this.running = false;
    this.registers.allOnes = true;
    clearTimeout(this.restoreTimer);
    if (durationMs > 0) this.restoreTimer = setTimeout(() => this.restore(), durationMs).unref();
  }

  private restore(): void {
    if (!this.registers.allOnes) return;
    this.registers.allOnes = false;
    const { status } = this.registers;
    this.running = (status & (ControllerStatus.RDY | ControllerStatus.CFS)) === ControllerStatus.RDY;
    if (this.running) this.poller?.wake();
  }

  private invalidDoorbell(info: number): void {
    this.events.raise(AsyncEventType.error, info, LogPageId.errorInformation);
  }

  private checkTemperature(): void {
    const SMART_TEMPERATURE = 1 << 1;
    if (!this.logPages.temperatureWarning || (this.features.asyncEventConfig & SMART_TEMPERATURE) === 0)
      return;
    this.events.raise(AsyncEventType.smart, AsyncEventInfo.smart.temperature, LogPageId.smart);
  }

  private namespaceChanged(nsid: number, change: NamespaceChange): void {
    const NAMESPACE_ATTRIBUTES = 1 << 8;
    this.listNamespaces();
    this.services.namespaceChanged(nsid, change);
    this.logPages.namespaceChanged(nsid);
    if ((this.features.asyncEventConfig & NAMESPACE_ATTRIBUTES) === 0) return;
    this.events.raise(
      AsyncEventType.notice,
      AsyncEventInfo.notice.namespaceAttributeChanged,
      LogPageId.changedNamespaces,
    );
  }

  private listNamespaces(): void {
    const attached: (EmulatedNamespace | undefined)[] = [undefined];
    const refusals = new Map<number, number>();
    const isRefused = (nsid: number): boolean => {
      const refusal = this.services.ioRefusal(nsid);
      if (refusal !== NvmeStatus.success) refusals.set(nsid, refusal);
      return refusal !== NvmeStatus.success;
    };
    isRefused(BROADCAST_NSID);
    for (const namespace of this.inventory.all) {
      while (attached.length < namespace.nsid) attached.push(undefined);
      attached.push(namespace.attached && !isRefused(namespace.nsid) ? namespace : undefined);
    }
    this.io.attached = attached;
    this.io.refusals = refusals;
  }

  private watchKeepAlive(timeoutMs: number): void {
    clearTimeout(this.keepAliveTimer);
    this.keepAliveTimer = undefined;
    if (timeoutMs > 0) this.keepAliveTimer = setTimeout(() => this.fail(), timeoutMs).unref();
  }

  private get doorbellsAreShared(): boolean {
    // A page of the host's must be no larger than the doorbells' own.
    return this.config.doorbells === "shared" && PAGE_SIZE === DOORBELL_BYTES;
  }

  private beforeSleep(): void {
    this.queues.publishEventIndexes();
    // The host writes its doorbell and then reads the index; we do it the other way round. Both need a full fence.
    Atomics.add(fence, 0, 1);
  }

  private dueInMs(): number {
    if (this.interrupts.isWaiting) return 1;
    return this.delayed.dueInMs;
  }
}

const fence = new Int32Array(new SharedArrayBuffer(4));
