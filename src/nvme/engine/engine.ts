import { ClosedError, DeviceGoneError, UnsupportedError } from "../../core/errors.js";
import type { DmaBuffer } from "../../dma/buffer.js";
import type { PciDevice } from "../../pci/device.js";
import type { Interrupts } from "../../pci/interrupts.js";
import { PAGE_SIZE } from "../../sys/syscalls.js";
import { adminWrite } from "../command/admin-target.js";
import { checkCommand } from "../command/check-command.js";
import type { NvmeCommand, NvmeCompletion } from "../command/command.js";
import { type CommandOptions, checkCommandOptions } from "../command/command-options.js";
import type { DataRules } from "../command/data-pointer.js";
import { DeviceAddresses } from "../command/device-addresses.js";
import { NvmeProtocolError } from "../command/error.js";
import { readIdentify } from "../command/identify.js";
import type { RingBuffers } from "../command/queue.js";
import { ControllerMemoryBuffer } from "../memory/cmb.js";
import { PersistentMemoryRegion } from "../memory/pmr.js";
import { ControllerRegisters } from "../memory/registers.js";
import type { CompletionMode } from "../queues/completion-watch.js";
import { Doorbells } from "../queues/doorbells.js";
import { IoQueues } from "../queues/io-queues.js";
import { QueuePair } from "../queues/queue-pair.js";
import { NvmeRings } from "../queues/rings.js";
import { ShadowDoorbells } from "../queues/shadow-doorbells.js";
import { IDENTIFY_BYTES, type IdentifyController, identifyController } from "../spec/identify.js";
import { AdminOpcode, FeatureId, IdentifyCns } from "../spec/opcodes.js";
import type { Capabilities } from "../spec/registers.js";
import { KeptFeatures } from "./feature-restore.js";
import { NvmeLifecycle, type RetryPolicy, staysFor } from "./lifecycle.js";
import type { NvmeConfig } from "./options.js";
import { Presence } from "./presence.js";
import { arbitrationFeature, planStartUp, type StartUp } from "./start-up.js";

/** Our own limit on one transfer, where the controller states none or a larger one: it sizes the PRP lists. */
const MAX_TRANSFER_BYTES = 4 * 1024 * 1024;
/** Where the controller gives no worst case for its shutdown (RTD3E). */
const SHUTDOWN_TIMEOUT_MS = 10_000;
/** Abort Command Limit of a controller that hasn't told yet. */
const FIRST_ABORT_LIMIT = 1;

/** Identify Controller, OACS. */
const OACS_DOORBELL_BUFFER = 1 << 8;
const KAS_UNIT_MS = 100;
/** In configuration space. */
const REVISION_AND_CLASS = 0x08;

/** What drives a controller: registers, interrupts and queues, from start to end. The API for programs is above it. */
export class ControllerEngine {
  readonly capabilities: Capabilities;
  readonly version: string;
  readonly completion: CompletionMode;
  readonly registers: ControllerRegisters;
  readonly lifecycle: NvmeLifecycle;
  readonly queues: IoQueues;
  readonly startUp: StartUp;
  identity: IdentifyController | undefined;
  /** Until the controller says more: one Identify page. */
  transferLimit = IDENTIFY_BYTES;
  ioRules: DataRules;
  private adminRules: DataRules;
  private readonly doorbells: Doorbells;
  private readonly adminQueue: QueuePair;
  private readonly presence: Presence;
  private readonly addresses: DeviceAddresses;
  private cmb: ControllerMemoryBuffer | undefined;
  private pmr: PersistentMemoryRegion | undefined;
  private pmrEnabling: Promise<PersistentMemoryRegion> | undefined;
  private ringSet: NvmeRings | undefined;
  private shadow: { readonly memory: DmaBuffer; readonly doorbells: ShadowDoorbells } | undefined;
  private keepAliveTimer: NodeJS.Timeout | undefined;
  /** What the program set, unless it wants that to be forgotten. */
  private readonly keptFeatures: KeptFeatures | undefined;
  private interrupts: Interrupts | undefined;
  private restarting: AbortSignal | undefined;
  private closing: Promise<void> | undefined;
  /** Ends with a reset: what was to be aborted before is gone. */
  private abortScope = new AbortController();
  private aborts = 0;
  private readonly waitingAborts: (() => void)[] = [];

  /** @throws UnsupportedError, SysError, DeviceGoneError; its owner closes the device then */
  constructor(
    readonly device: PciDevice,
    private readonly config: NvmeConfig,
  ) {
    this.registers = new ControllerRegisters(device.bar(0), device.bdf);
    this.doorbells = new Doorbells(device);
    this.capabilities = this.registers.capabilities();
    this.version = this.registers.version();
    this.startUp = planStartUp(device.bdf, this.capabilities, config);
    this.keptFeatures = config.restoreFeatures ? new KeptFeatures() : undefined;
    this.addresses = new DeviceAddresses(device.bdf, device.dma);
    this.adminRules = this.dataRules(0);
    this.ioRules = this.adminRules;
    this.completion = this.enableCompletion();
    this.lifecycle = new NvmeLifecycle(
      {
        name: device.bdf,
        stop: () => this.stop(),
        restart: (hard, signal) => this.restart(hard, signal),
        suspend: (error, policy) => this.suspend(error, policy),
        resume: () => this.forEachQueue((queue) => queue.resume()),
        fail: (error) => {
          this.ringSet?.close();
          this.forEachQueue((queue) => queue.fail(error));
        },
      },
      config.recovery,
    );
    const { maxQueueEntries } = this.capabilities;
    this.queues = new IoQueues(
      {
        name: device.bdf,
        maxQueueEntries,
        pageBytes: this.startUp.pageBytes,
        vectorCount: this.interrupts?.vectors.length ?? 0,
        weighted: this.startUp.weighted,
        shadow: () => this.shadow?.doorbells,
        admin: (command) => this.own(command),
        makePair: (id, entries, memory) => this.makePair(id, entries, this.transferLimit, memory),
      },
      config.queueEntries,
    );
    this.presence = new Presence(device, {
      gone: (error) => this.lifecycle.fail(error),
      removal: () => {
        // It may be gone already.
        this.checkHealth();
        this.lifecycle.removalRequested();
      },
    });
    // Identify pages are all that admin commands carry before MDTS is known; later ones may carry more.
    const entries = Math.min(config.adminQueueEntries, maxQueueEntries);
    this.adminQueue = this.makePair(0, entries, MAX_TRANSFER_BYTES, undefined);
  }

  /** Resets and enables the controller, and makes its I/O queues. @throws as NvmeController.open() */
  async start(): Promise<void> {
    const { registers, capabilities, device, config } = this;
    device.config.busMaster = true;
    this.quietPin();
    await registers.disable(capabilities.timeoutMs);
    // An earlier owner's: its addresses may be those of our buffers.
    if (capabilities.cmbs) registers.forgetCmb();
    if (capabilities.pmrs) registers.forgetPmr();
    this.watchInterrupts();
    await this.enable();
    this.identity = identifyController.decode(await this.readIdentify(IdentifyCns.controller));
    const { mdts, sgls } = this.identity;
    const stated = mdts === 0 ? MAX_TRANSFER_BYTES : 2 ** mdts * capabilities.minPageBytes;
    this.transferLimit = Math.min(MAX_TRANSFER_BYTES, stated);
    // SGLs are for I/O queues only; and what admin commands name in the CMB may be queues.
    this.adminRules = this.dataRules(0);
    this.ioRules = { ...this.dataRules(sgls), onController: this.addresses };
    await this.configure();
    if (!this.startUp.adminOnly) {
      await this.queues.negotiate(Math.max(1, config.queues));
      const count = Math.min(config.queues, this.queues.limit);
      for (let i = 0; i < count; i++) await this.queues.create();
    }
    this.lifecycle.started();
  }

  /** A checked admin command. @throws as NvmeController.admin(), at once or as a rejection */
  admin(command: NvmeCommand, options?: CommandOptions): Promise<NvmeCompletion> {
    this.lifecycle.assertUsable();
    if (options !== undefined) checkCommandOptions(options);
    checkCommand(command, this.adminRules);
    const completion = this.adminQueue.submit(command, options);
    this.keptFeatures?.watch(command, completion);
    return completion;
  }

  /** See {@link HostMemoryTarget}. */
  hostMemoryGiven(command: NvmeCommand): void {
    this.keptFeatures?.hostMemoryGiven(command);
  }

  /** @throws as NvmeController.admin() */
  async readIdentify(cns: number, nsid = 0): Promise<Uint8Array> {
    this.lifecycle.assertUsable();
    const target = { dma: this.device.dma, admin: (command: NvmeCommand) => this.admin(command) };
    return await readIdentify(target, cns, { nsid });
  }

  /** See NvmeController.controllerMemoryBuffer(). */
  controllerMemoryBuffer(): ControllerMemoryBuffer {
    this.lifecycle.assertUsable();
    this.cmb ??= ControllerMemoryBuffer.enable(this.device, this.capabilities.cmbs, this.addresses);
    return this.cmb;
  }

  /** See NvmeController.persistentMemoryRegion(). */
  async persistentMemoryRegion(): Promise<PersistentMemoryRegion> {
    this.lifecycle.assertUsable();
    if (this.pmr !== undefined) return this.pmr;
    this.pmrEnabling ??= PersistentMemoryRegion.enable(
      this.device,
      this.capabilities.pmrs,
      this.addresses,
    ).finally(() => {
      this.pmrEnabling = undefined;
    });
    this.pmr = await this.pmrEnabling;
    return this.pmr;
  }

  /** See NvmeController.rings. */
  get rings(): NvmeRings {
    this.lifecycle.assertUsable();
    const { device, doorbells } = this;
    this.ringSet ??= new NvmeRings({
      name: device.bdf,
      dma: device.dma,
      pageBytes: this.startUp.pageBytes,
      strideWords: this.capabilities.doorbellStrideBytes / 4,
      doorbells: () => doorbells.words,
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
    return this.shadow !== undefined;
  }

  /** See NvmeController.reset(). */
  async reset(kind: "controller" | "subsystem" | "function", policy: RetryPolicy): Promise<void> {
    const { registers, capabilities, device } = this;
    const { timeoutMs } = capabilities;
    if (kind === "subsystem" && !capabilities.nssrs) {
      throw new UnsupportedError(`${device.bdf} has no NVM subsystem reset (CAP.NSSRS)`);
    }
    if (kind === "function" && !device.io.info().resettable) {
      throw new UnsupportedError(`${device.bdf} has no reset of its function`);
    }
    await this.lifecycle.reset(async () => {
      if (kind === "subsystem") await registers.resetSubsystem(timeoutMs);
      else if (kind === "function") device.reset();
      else await registers.disable(timeoutMs);
    }, policy);
  }

  /** See NvmeController.shutdown(). */
  async shutdown(abrupt: boolean): Promise<void> {
    await this.lifecycle.shutDown(async () => {
      if (!abrupt) await this.deleteQueues();
      await this.registers.shutdown(this.shutdownLimitMs, abrupt);
      await this.registers.disable(this.capabilities.timeoutMs);
    });
  }

  /** See NvmeController.close(). */
  close(): Promise<void> {
    this.closing ??= this.closeNow();
    return this.closing;
  }

  private async closeNow(): Promise<void> {
    const { lifecycle, registers, capabilities, adminQueue, queues } = this;
    try {
      await lifecycle.beginClosing();
      if (lifecycle.state === "closing") {
        await this.deleteQueues();
        await registers.shutdown(this.shutdownLimitMs);
        await registers.disable(capabilities.timeoutMs);
      } else if (lifecycle.state === "starting") await this.stop();
    } catch (error) {
      // A controller that doesn't shut down in order is stopped the hard way.
      lifecycle.fail(error instanceof Error ? error : new Error(String(error)));
      await lifecycle.settled();
    } finally {
      const gone = new ClosedError(`NVMe controller ${this.device.bdf}`);
      this.forEachQueue((queue) => queue.fail(gone));
      clearInterval(this.keepAliveTimer);
      this.ringSet?.close();
      queues.close();
      adminQueue.close();
      this.shadow?.memory.close();
      lifecycle.closed();
      this.presence.close();
      this.device.close();
    }
  }

  /** Waits for what is outstanding, and deletes the I/O queues: an orderly end. */
  private async deleteQueues(): Promise<void> {
    const idle: Promise<void>[] = [];
    this.queues.each((queue) => {
      idle.push(queue.idle());
    });
    await Promise.all(idle);
    await this.adminQueue.idle();
    await this.queues.deleteAll();
  }

  private get shutdownLimitMs(): number {
    // RTD3E is in microseconds.
    return Math.max(SHUTDOWN_TIMEOUT_MS, (this.identity?.rtd3e ?? 0) / 1000);
  }

  /** An admin command of the driver's own: it ends with the restart that it is part of. */
  private own(command: NvmeCommand): Promise<NvmeCompletion> {
    checkCommand(command, this.adminRules);
    return this.adminQueue.submit(command, { signal: this.restarting });
  }

  private async enable(): Promise<void> {
    const { registers, adminQueue, capabilities } = this;
    registers.setAdminQueue(adminQueue.entries, adminQueue.sqMemory.iova, adminQueue.cqMemory.iova);
    await registers.enable(this.startUp.cc, capabilities.timeoutMs);
    adminQueue.resume();
    const arbitration = arbitrationFeature(this.config);
    if (arbitration !== undefined) {
      await this.own({
        name: "Set Features (Arbitration)",
        opcode: AdminOpcode.setFeatures,
        cdw10: arbitration.fid,
        cdw11: arbitration.value,
      });
    }
  }

  /** What has to be set again after each reset, before there are I/O queues. */
  private async configure(): Promise<void> {
    const { config, identity } = this;
    if (config.shadowDoorbells && ((identity?.oacs ?? 0) & OACS_DOORBELL_BUFFER) !== 0) {
      await this.useShadowDoorbells();
    }
    if (config.keepAliveMs !== undefined) await this.startKeepAlive(config.keepAliveMs, identity?.kas ?? 0);
  }

  /** One page for the doorbells, one for the controller's wishes: PRP1 and PRP2. */
  private async useShadowDoorbells(): Promise<void> {
    const { pageBytes } = this.startUp;
    if (this.shadow === undefined) {
      const memory = this.device.dma.alloc(2 * pageBytes, { alignBytes: pageBytes, ...aligned(pageBytes) });
      memory.entrust();
      const { words } = memory.memory;
      const half = pageBytes / 4;
      this.shadow = {
        memory,
        doorbells: new ShadowDoorbells(words.subarray(0, half), words.subarray(half, 2 * half)),
      };
    }
    const { memory } = this.shadow;
    memory.bytes.fill(0);
    await this.own({
      name: "Doorbell Buffer Config",
      opcode: AdminOpcode.doorbellBufferConfig,
      data: { buffer: memory, length: 2 * pageBytes },
    });
  }

  /** @param units KAS: granularity of the timer in 100 ms; 0 where there is none */
  private async startKeepAlive(timeoutMs: number, units: number): Promise<void> {
    clearInterval(this.keepAliveTimer);
    if (units === 0) {
      throw new UnsupportedError(`${this.device.bdf} has no Keep Alive (Identify Controller, KAS)`);
    }
    const unit = units * KAS_UNIT_MS;
    const rounded = Math.ceil(timeoutMs / unit) * unit;
    await this.own({
      name: "Set Features (Keep Alive Timer)",
      opcode: AdminOpcode.setFeatures,
      cdw10: FeatureId.keepAliveTimer,
      cdw11: rounded,
    });
    this.keepAliveTimer = setInterval(() => {
      if (this.lifecycle.state !== "live") return;
      // What went wrong with it is found by its time limit, or by the next command.
      this.adminQueue.submit({ name: "Keep Alive", opcode: AdminOpcode.keepAlive }).catch(() => {});
    }, rounded / 3).unref();
  }

  private async restart(hard: boolean, signal: AbortSignal): Promise<void> {
    const { device, registers, capabilities, doorbells } = this;
    this.restarting = signal;
    try {
      await this.presence.whenHere(signal);
      if (hard && device.io.info().resettable) device.reset();
      device.config.busMaster = true;
      this.quietPin();
      await registers.disable(capabilities.timeoutMs);
      doorbells.forget();
      // Queues may lie in it. A reset of more than the controller made it forget where they are.
      this.cmb?.apply();
      await this.pmr?.apply();
      this.forEachQueue((queue) => queue.restart(doorbells.words, doorbells.afterTurn));
      const since = performance.now();
      await this.enable();
      await this.configure();
      await this.restoreFeatures("others", since, signal);
      await this.queues.rebuild();
      await this.restoreFeatures("vectors", since, signal);
    } finally {
      this.restarting = undefined;
    }
  }

  private async restoreFeatures(
    which: "vectors" | "others",
    since: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { dma } = this.device;
    await this.keptFeatures?.restore(
      which,
      since,
      (command, data) => {
        if (data === undefined) return this.own(command);
        return adminWrite({ dma, admin: (whole) => this.own(whole) }, command, data);
      },
      (feature, error) => this.lifecycle.featureLost(feature, error),
      signal,
    );
  }

  private suspend(error: Error, policy: RetryPolicy): void {
    this.ringSet?.close();
    this.abortScope.abort();
    this.abortScope = new AbortController();
    this.adminQueue.suspend(error, staysFor(policy, true));
    this.queues.each((queue) => queue.suspend(error, staysFor(policy, false)));
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
    return new QueuePair({
      id,
      entries,
      space: this.device.dma,
      doorbells: this.doorbells.words,
      afterRing: this.doorbells.afterTurn,
      doorbellStrideWords: this.capabilities.doorbellStrideBytes / 4,
      pageBytes: this.startUp.pageBytes,
      maxTransferBytes,
      mode: this.completion,
      spinMs: this.config.spinMicroseconds / 1000,
      name: this.device.bdf,
      timeoutMs: this.config.timeoutMs,
      memory,
      onFailure: (error) => this.lifecycle.fail(error),
      onTick: () => this.checkHealth(),
      abort: (sqid, cid) => this.abort(sqid, cid),
    });
  }

  /** Abort, no more of them at once than the controller takes. Its answer changes nothing: the command's own counts. */
  private async abort(sqid: number, cid: number): Promise<boolean> {
    const { signal } = this.abortScope;
    const limit = this.identity === undefined ? FIRST_ABORT_LIMIT : this.identity.acl + 1;
    if (this.aborts >= limit) {
      await new Promise<void>((resolve) => {
        this.waitingAborts.push(resolve);
      });
    } else this.aborts++;
    try {
      const cdw10 = ((cid << 16) | sqid) >>> 0;
      const { dw0 } = await this.adminQueue.submit(
        { name: "Abort", opcode: AdminOpcode.abort, cdw10 },
        { signal },
      );
      // Bit 0: not aborted.
      return (dw0 & 1) === 0;
    } catch {
      // The command, too, is over when the controller is; else its time limit stands.
      return true;
    } finally {
      const next = this.waitingAborts.shift();
      if (next === undefined) this.aborts--;
      else next();
    }
  }

  /**
   * The admin queue always asks for interrupts, and where nobody set up any that is the pin. VFIO keeps it off until it is
   * asked for; a server behind a socket looks at the command register (SPDK's gives up if it has nowhere to signal).
   */
  private quietPin(): void {
    const { device, completion } = this;
    if (completion === "poll" && device.backend === "vfio-user") device.config.interruptDisable = true;
  }

  private enableCompletion(): CompletionMode {
    const { completion, vectors, queues, interruptKind: kind } = this.config;
    if (completion === "poll") return "poll";
    try {
      const count = Math.min(2048, vectors ?? queues + 1);
      this.interrupts = this.device.enableInterrupts({ kind, count });
      this.interrupts.entrust();
    } catch (error) {
      if (completion === undefined && kind === undefined && error instanceof UnsupportedError) return "poll";
      throw error;
    }
    return completion ?? "interrupt";
  }

  private watchInterrupts(): void {
    const { interrupts } = this;
    if (interrupts === undefined) return;
    // An idle controller doesn't keep the process alive; the time limit of an outstanding command does.
    interrupts.vectors.forEach((_, vector) => {
      interrupts.watch(vector, () => this.reapVector(vector)).unref();
    });
  }

  private reapVector(vector: number): void {
    if (vector === 0) this.adminQueue.reap();
    this.queues.reap(vector);
  }

  /** Finds a removed or broken controller long before the time limit of its commands. */
  private checkHealth(): void {
    try {
      const { fatal, ready } = this.registers.state();
      if (fatal) {
        this.lifecycle.fail(new NvmeProtocolError(`${this.device.bdf} reports a fatal status (CSTS.CFS)`));
      } else if (!ready && this.lifecycle.state === "live") {
        const { bdf } = this.device;
        this.lifecycle.fail(
          this.isRemoved()
            ? new DeviceGoneError(bdf)
            : new NvmeProtocolError(`${bdf} has stopped by itself (CSTS.RDY)`),
        );
      }
    } catch (error) {
      this.lifecycle.fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** Where nothing is behind an address, some machines read zeros; configuration space reads ones everywhere. */
  private isRemoved(): boolean {
    try {
      // VFIO answers for the ids by itself; revision and class come from the device.
      return this.device.config.read32(REVISION_AND_CLASS) === 0xffff_ffff;
    } catch {
      return true;
    }
  }

  /** Ends all DMA: by the controller's own reset, or where it doesn't answer, by taking its bus mastering away. */
  private async stop(): Promise<void> {
    try {
      await this.registers.disable(this.capabilities.timeoutMs);
    } catch (error) {
      if (error instanceof DeviceGoneError) return;
      try {
        this.device.config.busMaster = false;
      } catch {
        // Not even configuration space answers: nothing is left that could write to memory.
      }
    }
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

function aligned(pageBytes: number): { readonly iovaAlignBytes?: number } {
  return pageBytes > PAGE_SIZE ? { iovaAlignBytes: pageBytes } : {};
}
