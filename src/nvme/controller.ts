import type { DmaBuffer } from "../dma/buffer.js";
import type { DmaSpace } from "../dma/space.js";
import type { BackendName } from "../pci/backend.js";
import { PciDevice } from "../pci/device.js";
import type { Interrupts } from "../pci/interrupts.js";
import { ClosedError, DeviceGoneError, UnsupportedError } from "../sys/errors.js";
import { PAGE_SIZE } from "../sys/syscalls.js";
import { checkCommand, type DataRange, type NvmeCommand, type NvmeCompletion } from "./command.js";
import { ControllerRegisters } from "./controller-registers.js";
import { checkDataPointers, type DataRules } from "./data-pointer.js";
import { Doorbells } from "./doorbells.js";
import { NvmeProtocolError } from "./error.js";
import { NvmeEvents } from "./events.js";
import { NvmeFeatures } from "./features.js";
import { NvmeLogs } from "./logs.js";
import { NvmeNamespace } from "./namespace.js";
import { type NvmeOptions, parseNvmeOptions } from "./options.js";
import { type CompletionMode, QueuePair } from "./queue-pair.js";
import {
  IDENTIFY_BYTES,
  type IdentifyController,
  identifyController,
  identifyNamespace,
} from "./spec/identify.js";
import { AdminOpcode, FeatureId, IdentifyCns } from "./spec/opcodes.js";
import { type Capabilities, CommandSetSelection, ControllerConfig } from "./spec/registers.js";

const NVME_CLASS = 0x0108_02;
const ADMIN_ENTRIES = 32;
const IO_QUEUE_ID = 1;
/** Log2 of the entry sizes, as CC.IOSQES and CC.IOCQES want them. */
const IOSQES = 6;
const IOCQES = 4;
/** Our own limit on one transfer, where the controller states none or a larger one: it sizes the PRP lists. */
const MAX_TRANSFER_BYTES = 4 * 1024 * 1024;
/** Where the controller gives no worst case for its shutdown (RTD3E). */
const SHUTDOWN_TIMEOUT_MS = 10_000;

/** An NVMe controller driven from this process. */
export class NvmeController implements AsyncDisposable {
  /** What the controller tells by itself: `for await (const event of nvme.events)`. */
  readonly events: NvmeEvents = new NvmeEvents(this, () => this.closing !== undefined);
  /** CAP, decoded. */
  readonly capabilities: Capabilities;
  /** NVMe version the controller reports, e.g. `1.4.0`. */
  readonly version: string;
  /** How completions are noticed. */
  readonly completion: CompletionMode;
  private readonly registers: ControllerRegisters;
  private readonly doorbells: Doorbells;
  private readonly pageBytes: number;
  private interrupts: Interrupts | undefined;
  private adminQueue: QueuePair | undefined;
  private ioQueue: QueuePair | undefined;
  private identity: IdentifyController | undefined;
  /** Until the controller says more: one Identify page. */
  private transferLimit = IDENTIFY_BYTES;
  private ioRules: DataRules;
  private failure: Error | undefined;
  private stopping: Promise<void> | undefined;
  private closing: Promise<void> | undefined;

  private constructor(
    /** The PCI function below. */
    readonly device: PciDevice,
    private readonly options: ReturnType<typeof parseNvmeOptions>,
  ) {
    if (device.function.classCode !== NVME_CLASS) {
      const code = device.function.classCode.toString(16).padStart(6, "0");
      throw new UnsupportedError(
        `${device.bdf} is no NVMe controller: its class code is 0x${code}, not 0x010802`,
      );
    }
    this.registers = new ControllerRegisters(device.bar(0), device.bdf);
    this.doorbells = new Doorbells(device);
    this.capabilities = this.registers.capabilities();
    this.version = this.registers.version();
    this.pageBytes = Math.max(
      this.capabilities.minPageBytes,
      Math.min(PAGE_SIZE, this.capabilities.maxPageBytes),
    );
    this.ioRules = this.dataRules(0);
    this.completion = this.enableCompletion();
  }

  /**
   * Opens, resets and enables a controller that is bound to vfio-pci, and creates one I/O queue pair.
   * @param target PCI address, e.g. `0000:00:03.0`
   * @throws ConfigError, ArgumentError, UnsupportedError (not bound, no backend, no NVMe controller), SysError,
   *   TimeoutError (never ready within CAP.TO), NvmeProtocolError, DeviceGoneError, NvmeError; nothing stays open
   */
  static async open(target: string, options: NvmeOptions = {}): Promise<NvmeController> {
    const parsed = parseNvmeOptions(options);
    const device = PciDevice.open(target, { backend: parsed.backend, dma: parsed.dma });
    let controller: NvmeController | undefined;
    try {
      controller = new NvmeController(device, parsed);
      await controller.start();
      return controller;
    } catch (error) {
      if (controller === undefined) device.close();
      else await controller.close();
      throw error;
    }
  }

  get bdf(): string {
    return this.device.bdf;
  }

  /** Which backend was chosen, and why. */
  get backend(): BackendName {
    return this.device.backend;
  }

  get backendReason(): string {
    return this.device.backendReason;
  }

  /** The address space for buffers of this controller's commands. */
  get dma(): DmaSpace {
    return this.device.dma;
  }

  /** Identify Controller, as read when the controller was opened. */
  get identify(): IdentifyController {
    if (this.identity === undefined) throw new ClosedError(`NVMe controller ${this.bdf}`);
    return this.identity;
  }

  /** Longest transfer of one command in bytes: MDTS, and no more than this driver's own 4 MiB. */
  get maxTransferBytes(): number {
    if (this.identity === undefined) throw new ClosedError(`NVMe controller ${this.bdf}`);
    return this.transferLimit;
  }

  /** Any admin command. @throws ArgumentError, ClosedError, NvmeError, TimeoutError, DeviceGoneError */
  async admin(command: NvmeCommand): Promise<NvmeCompletion> {
    return this.submit(this.adminQueue, command, this.dataRules(0));
  }

  /** Any command on the I/O queue. @throws as admin() */
  async io(command: NvmeCommand): Promise<NvmeCompletion> {
    return this.submit(this.ioQueue, command, this.ioRules);
  }

  /**
   * Not for users: a command that a namespace has made, so that only its data needs to be looked at.
   * @throws ArgumentError, ClosedError at once, not as a rejection
   */
  submitIo(command: NvmeCommand): Promise<NvmeCompletion> {
    this.assertUsable();
    if (this.ioQueue === undefined) throw new ClosedError(`NVMe controller ${this.bdf}`);
    checkDataPointers(command, this.ioRules);
    return this.ioQueue.submit(command);
  }

  /** Log pages: SMART, errors, firmware slots, ... */
  get logs(): NvmeLogs {
    return new NvmeLogs(this);
  }

  /** Features: caches, temperature threshold, interrupt coalescing, timestamp, ... */
  get features(): NvmeFeatures {
    return new NvmeFeatures(this);
  }

  /** Ids of the active namespaces. @throws NvmeError, TimeoutError, DeviceGoneError, ClosedError */
  async namespaceIds(): Promise<number[]> {
    const ids: number[] = [];
    const perPage = IDENTIFY_BYTES / 4;
    for (let after = 0; ; after = ids[ids.length - 1] ?? 0) {
      const page = await this.readIdentify(IdentifyCns.activeNamespaces, after);
      const list = new Uint32Array(page.buffer, page.byteOffset, perPage);
      const end = list.indexOf(0);
      ids.push(...list.subarray(0, end < 0 ? perPage : end));
      if (end >= 0) return ids;
    }
  }

  /**
   * A namespace, ready for reading and writing.
   * @throws ArgumentError where `nsid` is no active namespace, UnsupportedError where its format carries metadata,
   *   NvmeError, TimeoutError, DeviceGoneError, ClosedError
   */
  async namespace(nsid: number): Promise<NvmeNamespace> {
    NvmeNamespace.checkId(nsid);
    const page = await this.readIdentify(IdentifyCns.namespace, nsid);
    return NvmeNamespace.of(this, nsid, identifyNamespace.decode(page));
  }

  /**
   * Waits for outstanding commands, deletes the queues, shuts the controller down, and gives everything back. Always
   * ends, within the command and shutdown time limits, and closes what it can whatever fails.
   */
  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private enableCompletion(): CompletionMode {
    if (this.options.completion === "poll") return "poll";
    try {
      this.interrupts = this.device.enableInterrupts({ count: 2 });
      this.interrupts.entrust();
    } catch (error) {
      if (this.options.completion === undefined && error instanceof UnsupportedError) return "poll";
      throw error;
    }
    return "interrupt";
  }

  private async start(): Promise<void> {
    const { registers, capabilities, device } = this;
    this.assertNvmCommandSet();
    device.config.busMaster = true;
    await registers.disable(capabilities.timeoutMs);
    const entries = Math.min(ADMIN_ENTRIES, capabilities.maxQueueEntries);
    // Identify pages are all that admin commands carry before MDTS is known; later ones may carry more.
    this.adminQueue = this.createQueuePair(0, entries, MAX_TRANSFER_BYTES);
    this.watchInterrupts();
    registers.setAdminQueue(entries, this.adminQueue.sqMemory.iova, this.adminQueue.cqMemory.iova);
    const css = (capabilities.css & 1) !== 0 ? CommandSetSelection.nvm : CommandSetSelection.allSupported;
    const config =
      (css << ControllerConfig.CSS_SHIFT) |
      ((Math.log2(this.pageBytes) - 12) << ControllerConfig.MPS_SHIFT) |
      (IOSQES << ControllerConfig.IOSQES_SHIFT) |
      (IOCQES << ControllerConfig.IOCQES_SHIFT);
    await registers.enable(config, capabilities.timeoutMs);
    this.identity = identifyController.decode(await this.readIdentify(IdentifyCns.controller, 0));
    const { mdts } = this.identity;
    const stated = mdts === 0 ? MAX_TRANSFER_BYTES : 2 ** mdts * capabilities.minPageBytes;
    this.transferLimit = Math.min(MAX_TRANSFER_BYTES, stated);
    this.ioRules = this.dataRules(this.identity.sgls);
    await this.createIoQueue();
  }

  private assertNvmCommandSet(): void {
    const nvm = 1 << 0;
    const ioCommandSets = 1 << 6;
    if ((this.capabilities.css & (nvm | ioCommandSets)) === 0) {
      throw new UnsupportedError(`${this.bdf} has no I/O command set (CAP.CSS ${this.capabilities.css})`);
    }
  }

  private createQueuePair(id: number, entries: number, maxTransferBytes: number): QueuePair {
    return new QueuePair({
      id,
      entries,
      space: this.dma,
      doorbells: this.doorbells.words,
      afterRing: this.doorbells.afterRing,
      doorbellStrideWords: this.capabilities.doorbellStrideBytes / 4,
      pageBytes: this.pageBytes,
      maxTransferBytes,
      mode: this.completion,
      timeoutMs: this.options.timeoutMs,
      onFailure: (error) => this.fail(error),
      onTick: () => this.checkHealth(),
    });
  }

  private watchInterrupts(): void {
    const { interrupts } = this;
    if (interrupts === undefined) return;
    // With one vector it serves both queues. An idle controller doesn't keep the process alive; the time limit of an
    // outstanding command does.
    interrupts.vectors.forEach((_, vector) => {
      interrupts.watch(vector, () => this.reapVector(vector)).unref();
    });
  }

  private reapVector(vector: number): void {
    if (vector === 0) this.adminQueue?.reap();
    if (vector === this.ioVector) this.ioQueue?.reap();
  }

  private get ioVector(): number {
    return (this.interrupts?.vectors.length ?? 1) - 1;
  }

  private async createIoQueue(): Promise<void> {
    const one = 0; // zero-based: one submission and one completion queue
    await this.admin({
      name: "Set Features (Number of Queues)",
      opcode: AdminOpcode.setFeatures,
      cdw10: FeatureId.numberOfQueues,
      cdw11: (one << 16) | one,
    });
    const entries = Math.min(this.options.queueEntries, this.capabilities.maxQueueEntries);
    const queue = this.createQueuePair(IO_QUEUE_ID, entries, this.maxTransferBytes);
    this.ioQueue = queue;
    const contiguous = 1;
    const interruptsEnabled = this.completion === "interrupt" ? 2 : 0;
    await this.admin({
      name: "Create I/O Completion Queue",
      opcode: AdminOpcode.createIoCompletionQueue,
      cdw10: (((entries - 1) << 16) | IO_QUEUE_ID) >>> 0,
      cdw11: ((this.ioVector << 16) | interruptsEnabled | contiguous) >>> 0,
      data: this.firstPage(queue.cqMemory),
    });
    await this.admin({
      name: "Create I/O Submission Queue",
      opcode: AdminOpcode.createIoSubmissionQueue,
      cdw10: (((entries - 1) << 16) | IO_QUEUE_ID) >>> 0,
      cdw11: ((IO_QUEUE_ID << 16) | contiguous) >>> 0,
      data: this.firstPage(queue.sqMemory),
    });
  }

  /** A contiguous queue is named by PRP1 alone. */
  private firstPage(buffer: DmaBuffer): DataRange {
    return { buffer, length: Math.min(buffer.sizeBytes, this.pageBytes) };
  }

  private async readIdentify(cns: number, nsid: number): Promise<Uint8Array> {
    this.assertUsable();
    const buffer = this.dma.alloc(IDENTIFY_BYTES);
    try {
      await this.admin({
        name: `Identify (CNS 0x${cns.toString(16).padStart(2, "0")}, nsid ${nsid})`,
        opcode: AdminOpcode.identify,
        nsid,
        cdw10: cns,
        data: { buffer },
      });
      return buffer.bytes.slice();
    } finally {
      buffer.close();
    }
  }

  private submit(
    queue: QueuePair | undefined,
    command: NvmeCommand,
    rules: DataRules,
  ): Promise<NvmeCompletion> {
    this.assertUsable();
    if (queue === undefined) throw new ClosedError(`NVMe controller ${this.bdf}`);
    checkCommand(command, rules);
    return queue.submit(command);
  }

  /** SGLs are for I/O queues only. */
  private dataRules(sgls: number): DataRules {
    const { dma, pageBytes, transferLimit } = this;
    return { space: dma, pageBytes, maxTransferBytes: transferLimit, sgls };
  }

  private assertUsable(): void {
    if (this.failure !== undefined) throw this.failure;
    if (this.closing !== undefined) throw new ClosedError(`NVMe controller ${this.bdf}`);
  }

  /** Finds a removed or broken controller long before the time limit of its commands. */
  private checkHealth(): void {
    try {
      if (this.registers.state().fatal) {
        this.fail(new NvmeProtocolError(`${this.bdf} reports a fatal status (CSTS.CFS)`));
      }
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /**
   * Stops the controller after something that leaves its commands in doubt, and only then rejects them: until it has
   * stopped it may still write to their buffers.
   */
  private fail(error: Error): void {
    if (this.failure !== undefined) return;
    this.failure = error;
    this.stopping = this.stop().then(() => {
      this.ioQueue?.fail(error);
      this.adminQueue?.fail(error);
    });
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

  private async shutDown(): Promise<void> {
    const { adminQueue, ioQueue } = this;
    try {
      await this.stopping;
      if (this.failure === undefined) {
        await ioQueue?.idle();
        await adminQueue?.idle();
        if (ioQueue !== undefined && adminQueue !== undefined) await this.deleteIoQueue(adminQueue);
        // RTD3E is in microseconds.
        const limit = Math.max(SHUTDOWN_TIMEOUT_MS, (this.identity?.rtd3e ?? 0) / 1000);
        if (adminQueue !== undefined) await this.registers.shutdown(limit);
        await this.registers.disable(this.capabilities.timeoutMs);
      }
    } catch (error) {
      // A controller that doesn't shut down in order is stopped the hard way.
      this.fail(error instanceof Error ? error : new Error(String(error)));
      await this.stopping;
    } finally {
      const gone = new ClosedError(`NVMe controller ${this.bdf}`);
      ioQueue?.fail(gone);
      adminQueue?.fail(gone);
      ioQueue?.close();
      adminQueue?.close();
      this.device.close();
    }
  }

  /** The submission queue first: its completion queue must exist as long as it does. */
  private async deleteIoQueue(adminQueue: QueuePair): Promise<void> {
    if (this.identity === undefined) return;
    await adminQueue.submit({
      name: "Delete I/O Submission Queue",
      opcode: AdminOpcode.deleteIoSubmissionQueue,
      cdw10: IO_QUEUE_ID,
    });
    await adminQueue.submit({
      name: "Delete I/O Completion Queue",
      opcode: AdminOpcode.deleteIoCompletionQueue,
      cdw10: IO_QUEUE_ID,
    });
  }
}
