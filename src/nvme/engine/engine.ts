/** Starts, resets, shuts down and closes a controller. The API for programs is `NvmeController`. */

import { setTimeout } from "node:timers/promises";
import { asError, ClosedError, StateError, UnsupportedError } from "../../core/errors.js";
import { closeAll } from "../../core/lifetime/close-all.js";
import { addAbortListener } from "../../core/listeners.js";
import type { PciDevice } from "../../pci/device.js";
import type { NvmeCommand, NvmeCompletion } from "../command/command.js";
import type { CommandOptions } from "../command/command-options.js";
import type { DataRules } from "../command/data-pointer.js";
import { DeviceAddresses } from "../command/device-addresses.js";
import { readIdentify, trustedController } from "../command/identify.js";
import type { RingBuffers } from "../command/queue.js";
import { BounceBuffers } from "../memory/bounce-buffers.js";
import type { ControllerMemoryBuffer } from "../memory/cmb.js";
import type { PersistentMemoryRegion } from "../memory/pmr.js";
import { ControllerRegisters } from "../memory/registers.js";
import type { CompletionMode } from "../queues/completion-watch.js";
import { driveDevice } from "../queues/device-driver.js";
import { Doorbells } from "../queues/doorbells.js";
import { IoQueues } from "../queues/io-queues.js";
import { QueuePair } from "../queues/queue-pair.js";
import { NvmeRings } from "../queues/rings.js";
import { ControllerQuirks } from "../quirks/controller-quirks.js";
import { decodeBits, Oacs } from "../spec/capabilities.js";
import { completionDoorbell, submissionDoorbell } from "../spec/doorbells.js";
import { IDENTIFY_BYTES, type IdentifyController, identifyController } from "../spec/identify.js";
import { AdminOpcode, IdentifyCns } from "../spec/opcodes.js";
import { SQE_WORDS } from "../spec/queue-entries.js";
import type { Capabilities } from "../spec/registers.js";
import { AbortQueue } from "./abort-queue.js";
import { AdminCommands } from "./admin-commands.js";
import { ControllerMemory } from "./controller-memory.js";
import { Health, stopController } from "./health.js";
import { KeepAlive } from "./keep-alive.js";
import { NvmeLifecycle, type RetryPolicy, staysFor } from "./lifecycle.js";
import type { NvmeConfig } from "./options.js";
import { Presence } from "./presence.js";
import { QueueInterrupts } from "./queue-interrupts.js";
import { ShadowMemory } from "./shadow-memory.js";
import {
  adminEntries,
  arbitrationFeature,
  assertEntrySizes,
  defaultQueueEntries,
  firstCommandId,
  maxQueueEntries,
  planStartUp,
  type StartUp,
  submissionEntryWords,
} from "./start-up.js";

/** The driver's own limit on one transfer. It sizes the PRP lists if the controller states no limit or a larger one. */
const MAX_TRANSFER_BYTES = 4 * 1024 * 1024;
/** If the controller states no worst case for its shutdown (RTD3E). */
const SHUTDOWN_TIMEOUT_MS = 10_000;
/** Abort Command Limit (zero-based) before Identify Controller was read. */
const FIRST_ACL = 0;
/** Quirk `delay-before-ready`: what SPDK waits; Linux waits 2300 ms. */
const QUIET_MS = 2500;
/** Quirk `delay-before-init`. */
const INIT_DELAY_MS = 2000;
/** Quirk `delay-after-queue`: SPDK waits 0.1 ms. */
const QUEUE_DELAY_MS = 10;

/** Composes a controller's parts: registers, interrupts, queues, lifecycle. */
export class ControllerEngine {
  readonly capabilities: Capabilities;
  readonly version: string;
  /** How long the controller may take to start or stop. */
  private readonly readyLimitMs: number;
  readonly lifecycle: NvmeLifecycle;
  readonly queues: IoQueues;
  readonly startUp: StartUp;
  readonly quirks: ControllerQuirks;
  identity: IdentifyController | undefined;
  /** One Identify page, until Identify Controller says more. */
  transferLimit = IDENTIFY_BYTES;
  ioRules: DataRules;
  private readonly registers: ControllerRegisters;
  private readonly doorbells: Doorbells;
  private readonly interrupts: QueueInterrupts;
  private readonly adminQueue: QueuePair;
  private readonly commands: AdminCommands;
  private readonly aborts: AbortQueue;
  private readonly health: Health;
  private readonly keepAlive: KeepAlive;
  private readonly shadow: ShadowMemory;
  private readonly presence: Presence;
  private readonly addresses: DeviceAddresses;
  private readonly memory: ControllerMemory;
  readonly bounce: BounceBuffers;
  private ringSet: NvmeRings | undefined;
  private closing: Promise<void> | undefined;

  /** @throws UnsupportedError, SysError, DeviceGoneError; then the caller closes the device */
  constructor(
    readonly device: PciDevice,
    private readonly config: NvmeConfig,
  ) {
    driveDevice(device, "an NvmeController");
    this.quirks = new ControllerQuirks(config.quirks, device.function);
    const quietMs = (): number => (this.quirks.has("delay-before-ready") ? QUIET_MS : 0);
    this.registers = new ControllerRegisters(device.bar(0), device.bdf, quietMs);
    this.doorbells = new Doorbells(device);
    this.capabilities = this.registers.capabilities();
    this.readyLimitMs = this.registers.readyLimitMs(this.capabilities);
    this.version = this.registers.version();
    this.startUp = planStartUp(device.bdf, this.capabilities, config);
    if (this.quirks.has("dma-48-bits")) device.dma.narrow(48);
    this.addresses = new DeviceAddresses(device.bdf, device.dma);
    this.memory = new ControllerMemory(device, this.capabilities, this.addresses);
    this.bounce = new BounceBuffers(device.bdf, device.dma, config.bounceBytes);
    this.shadow = new ShadowMemory(device.dma, this.startUp.pageBytes);
    this.ioRules = this.dataRules(0);
    this.interrupts = new QueueInterrupts(device, config, this.quirks);
    this.lifecycle = this.makeLifecycle();
    this.health = new Health(
      device,
      this.registers,
      () => this.lifecycle.state === "live",
      (error) => this.lifecycle.fail(error),
    );
    const { doorbellStrideBytes } = this.capabilities;
    this.queues = new IoQueues(
      {
        name: device.bdf,
        maxQueueEntries: maxQueueEntries(this.capabilities, this.quirks),
        maxQueues: this.quirks.has("shared-command-ids") ? 1 : this.doorbells.maxQueues(doorbellStrideBytes),
        pageBytes: this.startUp.pageBytes,
        vectorCount: this.interrupts.count,
        weighted: this.startUp.weighted,
        priority: this.quirks.has("medium-priority") ? "medium" : undefined,
        delayMs: this.quirks.has("delay-after-queue") ? QUEUE_DELAY_MS : 0,
        shadow: () => this.shadow.doorbells,
        admin: (command) => this.commands.own(command),
        makePair: (id, entries, memory) => this.makePair(id, entries, this.transferLimit, memory),
      },
      config.queueEntries ?? defaultQueueEntries(this.quirks),
    );
    this.presence = new Presence(device, {
      gone: (error) => this.lifecycle.fail(error),
      removal: () => {
        // It may be gone already.
        this.health.check();
        this.lifecycle.removalRequested();
      },
    });
    // Before MDTS is known, admin commands carry only Identify pages. Later ones may carry more.
    const adminQueue = this.makePair(0, adminEntries(config, this.quirks), MAX_TRANSFER_BYTES, undefined);
    this.adminQueue = adminQueue;
    this.commands = new AdminCommands(adminQueue, device.dma, this.ioRules, config.restoreFeatures);
    this.aborts = new AbortQueue(
      (command, options) => adminQueue.submit(command, options),
      () => (this.identity?.acl ?? FIRST_ACL) + 1,
    );
    this.keepAlive = new KeepAlive(device.bdf, (command) => {
      if (this.lifecycle.state !== "live") return;
      // If it fails, its time limit or the next command finds out why.
      adminQueue.submit(command).catch(() => {});
    });
  }

  /** How the driver notices completions. */
  get completion(): CompletionMode {
    return this.interrupts.mode;
  }

  /**
   * Resets and enables the controller, and creates its I/O queues.
   * @param signal stops the controller and ends the start
   * @throws as NvmeController.open()
   */
  async start(signal?: AbortSignal): Promise<void> {
    const giveUp = (): void =>
      this.lifecycle.fail(new StateError(`the program aborted the opening of ${this.device.bdf}`));
    if (signal !== undefined) addAbortListener(signal, giveUp);
    try {
      await this.startNow(signal);
      signal?.throwIfAborted();
      this.lifecycle.started();
    } catch (error) {
      // The failure of a command that a stopped controller no longer carries out is not the cause.
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", giveUp);
    }
  }

  private async startNow(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    const { registers, capabilities, device, config, interrupts } = this;
    device.config.busMaster = true;
    interrupts.quietPin();
    if (this.quirks.has("delay-before-init")) {
      await setTimeout(INIT_DELAY_MS, undefined, { signal }).catch(() => signal?.throwIfAborted());
    }
    await registers.disable(this.readyLimitMs, signal);
    // No wait follows before the enabling, so a controller that was given up is not enabled again.
    signal?.throwIfAborted();
    // An earlier driver may have left them enabled, at addresses that our buffers can have.
    if (capabilities.cmbs) registers.forgetCmb();
    if (capabilities.pmrs) registers.forgetPmr();
    interrupts.watch((vector) => {
      if (vector === 0) this.adminQueue.reap();
      this.queues.reap(vector);
    });
    await this.enable(signal);
    const identity = identifyController.decode(await this.readIdentify(IdentifyCns.controller));
    this.quirks.identified(identity);
    this.identity = trustedController({ hasQuirk: (name) => this.quirks.has(name) }, identity);
    assertEntrySizes(device.bdf, this.identity);
    const { mdts, sgls } = this.identity;
    const stated = mdts === 0 ? MAX_TRANSFER_BYTES : 2 ** mdts * capabilities.minPageBytes;
    this.transferLimit = Math.min(MAX_TRANSFER_BYTES, stated);
    // SGLs are for I/O queues only. Admin commands can name queues in the CMB, so the rules for data there don't apply.
    this.commands.rules = this.dataRules(0);
    this.ioRules = { ...this.dataRules(this.quirks.has("no-sgl") ? 0 : sgls), onController: this.addresses };
    await this.configure();
    if (!this.startUp.adminOnly) {
      await this.queues.negotiate(Math.max(1, config.queues));
      const count = Math.min(config.queues, this.queues.limit);
      for (let i = 0; i < count; i++) await this.queues.create();
    }
  }

  /** Checks and submits an admin command. @throws as NvmeController.admin(), at once or as a rejection */
  admin(command: NvmeCommand, options?: CommandOptions): Promise<NvmeCompletion> {
    this.lifecycle.assertUsable();
    return this.commands.submit(command, options);
  }

  /** See `EventTarget`. */
  hasSetFeature(fid: number): boolean {
    return this.commands.hasSet(fid);
  }

  /** See `HostMemoryTarget`. */
  hostMemoryGiven(command: NvmeCommand): void {
    this.commands.hostMemoryGiven(command);
  }

  /** @throws as NvmeController.admin() */
  private async readIdentify(cns: number): Promise<Uint8Array> {
    this.lifecycle.assertUsable();
    const target = { dma: this.device.dma, admin: (command: NvmeCommand) => this.admin(command) };
    return await readIdentify(target, cns);
  }

  /** See NvmeController.controllerMemoryBuffer(). */
  controllerMemoryBuffer(): ControllerMemoryBuffer {
    this.lifecycle.assertUsable();
    return this.memory.controllerMemoryBuffer();
  }

  /** See NvmeController.persistentMemoryRegion(). */
  async persistentMemoryRegion(): Promise<PersistentMemoryRegion> {
    this.lifecycle.assertUsable();
    return await this.memory.persistentMemoryRegion();
  }

  /** See NvmeController.rings. */
  get rings(): NvmeRings {
    this.lifecycle.assertUsable();
    const { device, doorbells } = this;
    this.ringSet ??= NvmeRings.of({
      name: device.bdf,
      dma: device.dma,
      pageBytes: this.startUp.pageBytes,
      entryWords: submissionEntryWords(this.quirks),
      strideWords: this.capabilities.doorbellStrideBytes / 4,
      doorbells: (index) => doorbells.add(index),
      sharedDoorbells: () => (doorbells.afterRing === undefined ? doorbells.words : undefined),
      afterRing: () => doorbells.afterRing?.(),
      bar: device.bar(0),
      lease: device.io.lease,
      admin: (command) => this.admin(command),
    });
    return this.ringSet;
  }

  /** Whether doorbells are in memory. */
  get usesShadowDoorbells(): boolean {
    return this.shadow.doorbells !== undefined;
  }

  /** See NvmeController.reset(). */
  async reset(kind: "controller" | "subsystem" | "function", policy: RetryPolicy): Promise<void> {
    const { registers, capabilities, device } = this;
    const timeoutMs = this.readyLimitMs;
    if (kind === "subsystem" && !capabilities.nssrs) {
      throw new UnsupportedError(`${device.bdf} has no NVM subsystem reset (CAP.NSSRS)`);
    }
    if (kind === "function" && !device.io.info().resettable) {
      throw new UnsupportedError(`${device.bdf} has no function reset: use another kind of reset`);
    }
    await this.lifecycle.reset(async () => {
      if (kind === "subsystem") await registers.resetSubsystem(timeoutMs);
      else if (kind === "function") device.reset();
      else await registers.disable(timeoutMs);
    }, policy);
  }

  /** See NvmeController.shutdown(). */
  async shutdown(abrupt: boolean): Promise<void> {
    await this.lifecycle.shutDown(() => this.shutDownNow(abrupt));
  }

  /** See NvmeController.close(). */
  close(): Promise<void> {
    // What the program holds may refuse to close. Then it can be tried again.
    this.closing ??= this.closeNow().catch((error: unknown) => {
      this.closing = undefined;
      throw error;
    });
    return this.closing;
  }

  private async closeNow(): Promise<void> {
    const { lifecycle } = this;
    try {
      await lifecycle.beginClosing();
      if (lifecycle.state === "closing") await this.shutDownNow(false);
      else if (lifecycle.state === "starting") await this.stop();
    } catch (error) {
      // A controller whose shutdown fails is stopped.
      lifecycle.fail(asError(error));
      await lifecycle.settled();
    } finally {
      this.closeParts();
    }
  }

  /** Each part closes, whatever becomes of the others. @throws what they threw */
  private closeParts(): void {
    const gone = new ClosedError(`NVMe controller ${this.device.bdf}`);
    const steps: readonly (() => void)[] = [
      () => this.forEachQueue((queue) => queue.fail(gone)),
      () => this.keepAlive.stop(),
      () => this.ringSet?.close(),
      () => this.queues.close(),
      () => this.adminQueue.close(),
      () => this.shadow.close(),
      () => this.bounce.close(),
      () => this.lifecycle.closed(),
      () => this.presence.close(),
      () => this.device.close(),
    ];
    closeAll(
      steps.map((close) => ({ close })),
      `closing ${this.device.bdf}`,
    );
  }

  /** @param abrupt without waiting for outstanding commands and without deleting queues */
  private async shutDownNow(abrupt: boolean): Promise<void> {
    const { registers, identity } = this;
    if (!abrupt) await this.deleteQueues();
    // RTD3E is in microseconds.
    await registers.shutdown(Math.max(SHUTDOWN_TIMEOUT_MS, (identity?.rtd3e ?? 0) / 1000), abrupt);
    await registers.disable(this.readyLimitMs);
  }

  /** Waits for outstanding commands, and deletes the I/O queues. */
  private async deleteQueues(): Promise<void> {
    const idle: Promise<void>[] = [];
    this.queues.each((queue) => {
      idle.push(queue.idle());
    });
    await Promise.all(idle);
    await this.adminQueue.idle();
    await this.queues.deleteAll();
  }

  private async enable(signal?: AbortSignal): Promise<void> {
    const { registers, adminQueue } = this;
    registers.setAdminQueue(adminQueue.entries, adminQueue.sqMemory.iova, adminQueue.cqMemory.iova);
    await registers.enable(this.startUp.cc, this.readyLimitMs, signal);
    adminQueue.resume();
    const arbitration = arbitrationFeature(this.config);
    if (arbitration !== undefined) {
      await this.commands.own({
        name: "Set Features (Arbitration)",
        opcode: AdminOpcode.setFeatures,
        cdw10: arbitration.fid,
        cdw11: arbitration.value,
      });
    }
  }

  /** Sets what each reset clears, before the I/O queues are created. */
  private async configure(): Promise<void> {
    const { commands, identity } = this;
    const { shadowDoorbells, keepAliveMs } = this.config;
    const own = (command: NvmeCommand): Promise<NvmeCompletion> => commands.own(command);
    if (shadowDoorbells && decodeBits(identity?.oacs ?? 0, Oacs).doorbellBufferConfig) {
      await this.shadow.enable(own);
    }
    if (keepAliveMs !== undefined) await this.keepAlive.start(keepAliveMs, identity?.kas ?? 0, own);
  }

  private makeLifecycle(): NvmeLifecycle {
    return new NvmeLifecycle(
      {
        name: this.device.bdf,
        stop: () => this.stop(),
        restart: (hard, signal) => this.commands.whileRestarting(signal, () => this.restart(hard, signal)),
        suspend: (error, policy) => this.suspend(error, policy),
        resume: () => this.forEachQueue((queue) => queue.resume()),
        fail: (error) => {
          this.forEachQueue((queue) => queue.fail(error));
          this.ringSet?.close();
        },
      },
      this.config.recovery,
    );
  }

  private async restart(hard: boolean, signal: AbortSignal): Promise<void> {
    const { device, registers, doorbells, commands } = this;
    await this.presence.whenHere(signal);
    if (hard && device.io.info().resettable) device.reset();
    device.config.busMaster = true;
    this.interrupts.quietPin();
    await registers.disable(this.readyLimitMs);
    doorbells.forget();
    // Queues may lie in it.
    await this.memory.restore();
    this.forEachQueue((queue) => queue.restart(doorbells.words, doorbells.afterTurn));
    const since = performance.now();
    const lost: Parameters<AdminCommands["restoreFeatures"]>[2] = (feature, error) =>
      this.lifecycle.featureLost(feature, error);
    await this.enable();
    await this.configure();
    await commands.restoreFeatures("others", since, lost, signal);
    await this.queues.rebuild();
    await commands.restoreFeatures("vectors", since, lost, signal);
  }

  private suspend(error: Error, policy: RetryPolicy): void {
    this.ringSet?.close();
    this.aborts.giveUpAll();
    this.adminQueue.suspend(error, staysFor(policy, true));
    this.queues.each((queue) => queue.suspend(error, staysFor(policy, false)));
  }

  private stop(): Promise<void> {
    return stopController(this.device, this.registers, this.readyLimitMs);
  }

  private forEachQueue(act: (queue: QueuePair) => void): void {
    this.queues.each(act);
    act(this.adminQueue);
  }

  private makePair(
    id: number,
    entries: number,
    maxTransferBytes: number,
    memory: RingBuffers | undefined,
  ): QueuePair {
    if (memory?.submission !== undefined) this.addresses.assertRing(memory.submission, "submission");
    if (memory?.completion !== undefined) this.addresses.assertRing(memory.completion, "completion");
    if (memory?.lists !== undefined) this.addresses.assertLists(memory.lists, memory.submission);
    const { doorbells } = this;
    const firstId = firstCommandId(id, this.config, this.quirks);
    if (entries - 1 <= (firstId ?? 0))
      throw new UnsupportedError(
        `an I/O queue of ${entries} entries has no command ids besides those of the admin queue (quirk shared-command-ids): make it larger than ${(firstId ?? 0) + 1}, or lower adminQueueEntries`,
      );
    const doorbellStrideWords = this.capabilities.doorbellStrideBytes / 4;
    doorbells.add(submissionDoorbell(id, doorbellStrideWords));
    doorbells.add(completionDoorbell(id, doorbellStrideWords));
    return new QueuePair({
      id,
      entries,
      entryWords: id === 0 ? SQE_WORDS : submissionEntryWords(this.quirks),
      firstCommandId: firstId,
      space: this.device.dma,
      doorbells: doorbells.words,
      afterRing: doorbells.afterTurn,
      doorbellStrideWords,
      pageBytes: this.startUp.pageBytes,
      maxTransferBytes,
      mode: this.interrupts.mode,
      spinMs: this.config.spinMicroseconds / 1000,
      name: this.device.bdf,
      timeoutMs: this.config.timeoutMs,
      memory,
      onFailure: (error) => this.lifecycle.fail(error),
      onTick: () => this.health.check(),
      abort: (sqid, cid) => this.aborts.abort(sqid, cid),
    });
  }

  private dataRules(sgls: number): DataRules {
    return {
      space: this.device.dma,
      pageBytes: this.startUp.pageBytes,
      maxTransferBytes: this.transferLimit,
      sgls,
    };
  }
}
