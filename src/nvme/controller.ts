/** An NVMe controller as programs use it. */
import { checkKeys } from "../core/check.js";
import { ClosedError } from "../core/errors.js";
import type { DmaBuffer } from "../dma/buffer.js";
import type { DmaSpace } from "../dma/space.js";
import type { PciDevice } from "../pci/device.js";
import type { NvmeCapacity } from "./admin/capacity.js";
import type { NvmeDirectives } from "./admin/directives.js";
import type { NvmeEvents } from "./admin/events.js";
import type { NvmeFeatures } from "./admin/features.js";
import type { NvmeFirmware } from "./admin/firmware.js";
import type { HostMemoryBuffer } from "./admin/host-memory-buffer.js";
import type { LockdownOptions } from "./admin/lockdown.js";
import type { NvmeLogs } from "./admin/logs.js";
import type { NvmeMaintenance } from "./admin/maintenance.js";
import type { NvmeNamespaceManagement } from "./admin/namespace-management.js";
import type { NvmeSecurity } from "./admin/security.js";
import type { NvmeStructures } from "./admin/structures.js";
import type { NvmeVirtualization } from "./admin/virtualization.js";
import { type CancelOptions, type CancelResult, cancelCommands } from "./command/cancel.js";
import { checkCommand } from "./command/check-command.js";
import type { NvmeCommand, NvmeCompletion } from "./command/command.js";
import {
  type CommandOptions,
  checkCommandOptions,
  type IoCommandOptions,
} from "./command/command-options.js";
import { checkDataPointers } from "./command/data-pointer.js";
import type { NvmeQueue, QueueOptions } from "./command/queue.js";
import type { ControllerEngine } from "./engine/engine.js";
import type { NvmeLifecycle, RetryPolicy } from "./engine/lifecycle.js";
import type { NvmeOptions } from "./engine/options.js";
import type { NvmeBootPartitions } from "./memory/boot-partitions.js";
import type { BounceBuffers } from "./memory/bounce-buffers.js";
import type { ControllerMemoryBuffer } from "./memory/cmb.js";
import type { PersistentMemoryRegion } from "./memory/pmr.js";
import type { KeyValueNamespace } from "./namespace/key-value-namespace.js";
import { NvmeNamespace } from "./namespace/namespace.js";
import { hasZones, ZonedNamespace } from "./namespace/zoned-namespace.js";
import type { CompletionMode } from "./queues/completion-watch.js";
import { PreparedCommands } from "./queues/prepared-commands.js";
import type { QueuePair } from "./queues/queue-pair.js";
import type { NvmeRings } from "./queues/rings.js";
import type { NvmeQuirk, NvmeQuirkName } from "./quirks/quirks.js";
import type { IdentifyController } from "./spec/identify.js";
import type { Capabilities } from "./spec/registers.js";

/** The classes that {@link NvmeController.open} loads. */
type AdminClasses = typeof import("./controller-parts.js").admin;

/** An NVMe controller driven from this process. */
export class NvmeController implements AsyncDisposable {
  /** Asynchronous events of the controller: `for await (const event of nvme.events)`. */
  readonly events: NvmeEvents;
  private closing = false;
  private boot: NvmeBootPartitions | undefined;

  private constructor(
    /** The controller's PCI function. */
    readonly device: PciDevice,
    private readonly engine: ControllerEngine,
    private readonly adminClasses: AdminClasses,
  ) {
    this.events = new adminClasses.NvmeEvents(this, () => this.closing);
  }

  /**
   * Opens, resets and enables a controller that is bound to vfio-pci, and creates its I/O queue pairs.
   * @param target PCI address, e.g. `0000:00:03.0`
   * @throws ConfigError, ArgumentError, UnsupportedError (not bound, no backend, no NVMe controller, an option that the
   *   controller doesn't support), SysError, TimeoutError (not ready within CAP.TO), NvmeProtocolError, DeviceGoneError,
   *   NvmeError, the reason of `options.signal`; nothing stays open
   */
  static async open(target: string, options: NvmeOptions = {}): Promise<NvmeController> {
    // Most of the driver is loaded here: the programs that only import the package start without it.
    const { admin, openEngine } = await import("./controller-parts.js");
    const { device, engine } = await openEngine(target, options);
    return new NvmeController(device, engine, admin);
  }

  /** PCI address (domain:bus:device.function), or `vfio-user:PATH`. */
  get bdf(): string {
    return this.device.bdf;
  }

  /** CAP, decoded. */
  get capabilities(): Capabilities {
    return this.engine.capabilities;
  }

  /** NVMe version that the controller reports, e.g. `1.4.0`. */
  get version(): string {
    return this.engine.version;
  }

  /** How the driver notices completions. */
  get completion(): CompletionMode {
    return this.engine.completion;
  }

  /** State of the controller, and events for its changes: failure, recovery, removal. */
  get lifecycle(): NvmeLifecycle {
    return this.engine.lifecycle;
  }

  /** Memory page of the controller in bytes (CC.MPS). */
  get memoryPageBytes(): number {
    return this.engine.startUp.pageBytes;
  }

  /** The I/O queue pairs. */
  get queues(): readonly NvmeQueue[] {
    return this.engine.queues.all;
  }

  /** Most I/O queue pairs that the controller allows (Number of Queues). */
  get maxQueues(): number {
    return this.engine.queues.limit;
  }

  /** Name of the backend. */
  get backend(): string {
    return this.device.backend;
  }

  /** Why the backend was chosen, as a sentence. */
  get backendReason(): string {
    return this.device.backendReason;
  }

  /** The address space for buffers of this controller's commands. */
  get dma(): DmaSpace {
    return this.device.dma;
  }

  /** @internal */
  get bounce(): BounceBuffers {
    return this.engine.bounce;
  }

  /** Identify Controller, as read when the controller was opened. */
  get identify(): IdentifyController {
    const { identity } = this.engine;
    if (identity === undefined) throw new ClosedError(`NVMe controller ${this.bdf}`);
    return identity;
  }

  /** The quirks of this controller, by the table of known controllers and the option `quirks`. */
  get quirks(): readonly NvmeQuirk[] {
    return this.engine.quirks.all;
  }

  /** @internal */
  hasQuirk(name: NvmeQuirkName): boolean {
    return this.engine.quirks.has(name);
  }

  /** Longest transfer of one command in bytes: MDTS, but at most 4 MiB. */
  get maxTransferBytes(): number {
    return this.engine.transferLimit;
  }

  /**
   * Sends any admin command.
   * @throws ArgumentError, ClosedError, StateError (shut down), NvmeError, TimeoutError, DeviceGoneError, NvmeResetError, the
   *   reason of a signal
   */
  async admin(command: NvmeCommand, options?: CommandOptions): Promise<NvmeCompletion> {
    if (options !== undefined) checkKeys("options", options, ["timeoutMs", "signal"]);
    return this.engine.admin(command, options);
  }

  /** Sends any command on an I/O queue. @throws as admin(), UnsupportedError if there is no I/O queue */
  async io(command: NvmeCommand, options?: IoCommandOptions): Promise<NvmeCompletion> {
    this.lifecycle.assertUsable();
    if (options !== undefined) checkKeys("options", options, ["timeoutMs", "signal", "queue"]);
    checkCommand(command, this.engine.ioRules);
    return this.submitIo(command, options);
  }

  /**
   * Sends an I/O command with checked dwords. Checks only its data and options.
   * @throws ArgumentError, ClosedError, UnsupportedError synchronously
   * @internal
   */
  submitIo(command: NvmeCommand, options?: IoCommandOptions): Promise<NvmeCompletion> {
    const pair = this.pairFor(options?.queue);
    if (options !== undefined) checkCommandOptions(options);
    checkDataPointers(command, this.engine.ioRules);
    return pair.submit(command, options);
  }

  /**
   * Sends a checked read or write of one contiguous buffer, see {@link QueuePair.transfer}.
   * @throws ClosedError, UnsupportedError synchronously
   * @internal
   */
  transferIo(
    opcode: number,
    nsid: number,
    lba: number,
    cdw12: number,
    buffer: DmaBuffer,
    offset: number,
    length: number,
    queue: NvmeQueue | undefined,
  ): Promise<void> {
    return this.pairFor(queue).transfer(opcode, nsid, lba, cdw12, buffer, offset, length);
  }

  /**
   * Makes the queue entries of I/O commands with checked dwords. Checks their data.
   * @throws ArgumentError, ClosedError, UnsupportedError, SysError
   * @internal
   */
  prepareIo(commands: NvmeCommand[]): PreparedCommands {
    this.lifecycle.assertUsable();
    const { ioRules } = this.engine;
    for (const command of commands) checkDataPointers(command, ioRules);
    return new PreparedCommands(commands, ioRules);
  }

  /** @throws ClosedError, UnsupportedError, BusyError if the batch is running @internal */
  submitPrepared(
    batch: PreparedCommands,
    queue: NvmeQueue | undefined,
    onEnd: (error: Error | undefined) => void,
  ): void {
    this.pairFor(queue).submitBatch(batch, onEnd);
  }

  /** Queue pair for an I/O command: `queue`, or the next one in turn. */
  private pairFor(queue: NvmeQueue | undefined): QueuePair {
    const { lifecycle, queues } = this.engine;
    lifecycle.assertUsable();
    const pair = queue === undefined ? queues.next() : queues.pairOf(queue);
    if (pair === undefined) throw queues.missing();
    return pair;
  }

  /**
   * Cancel: has the controller abort outstanding commands of an I/O queue. Those that it aborts reject with an NvmeError
   * (Command Abort Requested). The command itself needs a free entry of the queue.
   * @throws ArgumentError (also if the queue belongs to another controller), UnsupportedError, NvmeError (one command: it
   *   belongs to another namespace), TimeoutError, DeviceGoneError, ClosedError
   */
  async cancel(queue: NvmeQueue, options: CancelOptions = {}): Promise<CancelResult> {
    this.lifecycle.assertUsable();
    this.engine.queues.pairOf(queue);
    return await cancelCommands(this, queue, options);
  }

  /**
   * Creates another I/O queue pair. There can be at most `maxQueues`.
   * @throws ArgumentError, UnsupportedError, NvmeError, ...
   */
  async createQueuePair(options: QueueOptions = {}): Promise<NvmeQueue> {
    this.lifecycle.assertUsable();
    return await this.engine.queues.create(options);
  }

  /**
   * Deletes an I/O queue pair after its outstanding commands have completed.
   * @throws ArgumentError if it belongs to another controller, BusyError, NvmeError, ...
   */
  async deleteQueuePair(queue: NvmeQueue): Promise<void> {
    this.lifecycle.assertUsable();
    await this.engine.queues.delete(queue);
  }

  /**
   * The controller memory buffer, for data (`read(lba, cmb.alloc(4096))`) and queues. The first call enables it.
   * @throws UnsupportedError if there is none, NvmeProtocolError, ClosedError
   */
  controllerMemoryBuffer(): ControllerMemoryBuffer {
    return this.engine.controllerMemoryBuffer();
  }

  /**
   * The persistent memory region. The first call enables it.
   * @throws UnsupportedError if there is none, TimeoutError, NvmeProtocolError, ClosedError
   */
  async persistentMemoryRegion(): Promise<PersistentMemoryRegion> {
    return await this.engine.persistentMemoryRegion();
  }

  /**
   * Rings and registers without a driver above them, to test controllers: see docs/nvme.md. A reset of the controller
   * deletes such queues; create them again then.
   * @throws ClosedError; the reason of the failure, if the controller has failed
   */
  get rings(): NvmeRings {
    return this.engine.rings;
  }

  /** Whether I/O queues use shadow doorbells: the option `shadowDoorbells` is set, and the controller supports them. */
  get usesShadowDoorbells(): boolean {
    return this.engine.usesShadowDoorbells;
  }

  /**
   * Resets the controller (CC.EN), the whole NVM subsystem with all its controllers (NSSR), or the PCI function. Then creates
   * the queues again, and sets the features that the program has set (`restoreFeatures`). Also possible after a failure or a
   * shutdown.
   * @param options outstanding: what happens to outstanding commands, see {@link NvmeOptions.recovery}; `fail`
   *   (NvmeResetError) by default. Commands that wait for a slot are sent after the reset.
   * @throws UnsupportedError, StateError (a reset is in progress), ClosedError; the reason if the controller doesn't work again
   */
  async reset(
    kind: "controller" | "subsystem" | "function" = "controller",
    options: { readonly outstanding?: RetryPolicy } = {},
  ): Promise<void> {
    checkKeys("options", options, ["outstanding"]);
    await this.engine.reset(kind, options.outstanding ?? "fail");
  }

  /**
   * Shuts the controller down. It takes no commands until a reset(). `normal` waits for outstanding commands and deletes the
   * queues. `abrupt` waits for nothing, for a power failure.
   * @throws StateError, ClosedError, TimeoutError, DeviceGoneError
   */
  async shutdown(how: "normal" | "abrupt" = "normal"): Promise<void> {
    await this.engine.shutdown(how === "abrupt");
  }

  /** Data structures of Identify: namespaces, controllers, command sets, NVM sets, virtualization, ... */
  get structures(): NvmeStructures {
    return new this.adminClasses.NvmeStructures(this);
  }

  /**
   * Sends a fused operation: two commands in adjacent entries of one queue, with one doorbell write.
   * @throws ArgumentError, ClosedError, UnsupportedError synchronously
   * @internal
   */
  submitFused(
    first: NvmeCommand,
    second: NvmeCommand,
    options?: IoCommandOptions,
  ): [first: Promise<NvmeCompletion>, second: Promise<NvmeCompletion>] {
    const pair = this.pairFor(options?.queue);
    if (options !== undefined) checkCommandOptions(options);
    checkDataPointers(first, this.engine.ioRules);
    checkDataPointers(second, this.engine.ioRules);
    return pair.submitFused(first, second, options);
  }

  /** Log pages: SMART, errors, firmware slots, ... */
  get logs(): NvmeLogs {
    return new this.adminClasses.NvmeLogs(this);
  }

  /** Features: caches, temperature threshold, interrupt coalescing, timestamp, ... */
  get features(): NvmeFeatures {
    return new this.adminClasses.NvmeFeatures(this);
  }

  /** Firmware: slots, download, commit. */
  get firmware(): NvmeFirmware {
    return new this.adminClasses.NvmeFirmware(this);
  }

  /** Boot partitions, read by registers. @throws ClosedError */
  get bootPartitions(): NvmeBootPartitions {
    const { device } = this;
    this.boot ??= new this.adminClasses.NvmeBootPartitions(
      device.bar(0),
      device.dma,
      device.bdf,
      this.capabilities.bps,
    );
    return this.boot;
  }

  /** Format, sanitize, self-test. */
  get maintenance(): NvmeMaintenance {
    return new this.adminClasses.NvmeMaintenance(this);
  }

  /** Creates, deletes, attaches and detaches namespaces. */
  get namespaceManagement(): NvmeNamespaceManagement {
    return new this.adminClasses.NvmeNamespaceManagement(this);
  }

  /** Security Send and Receive. */
  get security(): NvmeSecurity {
    return new this.adminClasses.NvmeSecurity(this);
  }

  /** Directives: streams, ... */
  get directives(): NvmeDirectives {
    return new this.adminClasses.NvmeDirectives(this);
  }

  /** Controllers of virtual functions: their queues, interrupts and states. */
  get virtualization(): NvmeVirtualization {
    return new this.adminClasses.NvmeVirtualization(this);
  }

  /** Endurance groups and NVM sets. */
  get capacity(): NvmeCapacity {
    return new this.adminClasses.NvmeCapacity(this);
  }

  /**
   * Whether the program has set this feature since the controller was opened.
   * @internal
   */
  hasSetFeature(fid: number): boolean {
    return this.engine.hasSetFeature(fid);
  }

  /** See HostMemoryTarget. @internal */
  hostMemoryGiven(command: NvmeCommand): void {
    this.engine.hostMemoryGiven(command);
  }

  /** Gives host memory to the controller. @param bytes its preferred size by default @throws as HostMemoryBuffer.give() */
  async giveHostMemory(bytes?: number): Promise<HostMemoryBuffer> {
    return await this.adminClasses.HostMemoryBuffer.give(this, bytes);
  }

  /** Lockdown: prohibits a command or a feature, or allows it again. @throws ArgumentError, UnsupportedError, NvmeError */
  async lockdown(options: LockdownOptions): Promise<void> {
    await this.adminClasses.lockdown(this, options);
  }

  /** Ids of the active namespaces. @throws NvmeError, NvmeProtocolError, TimeoutError, DeviceGoneError, ClosedError */
  async namespaceIds(): Promise<number[]> {
    this.lifecycle.assertUsable();
    return await this.structures.activeNamespaces();
  }

  /**
   * Opens a namespace. One with zones is a {@link ZonedNamespace}, which writes them in order.
   * @throws ArgumentError if `nsid` isn't an active namespace, UnsupportedError if its format is unknown, NvmeError,
   *   TimeoutError, DeviceGoneError, ClosedError
   */
  async namespace(nsid: number): Promise<NvmeNamespace> {
    const ns = await NvmeNamespace.open(this, nsid);
    return (await hasZones(this, nsid)) ? await ZonedNamespace.open(this, nsid) : ns;
  }

  /**
   * Opens a key value namespace.
   * @throws as namespace(), and UnsupportedError if it has no keys and values
   */
  async keyValueNamespace(nsid: number): Promise<KeyValueNamespace> {
    return await this.adminClasses.KeyValueNamespace.open(this, nsid);
  }

  /**
   * Opens a zoned namespace.
   * @throws as namespace(), and UnsupportedError if it isn't zoned
   */
  async zonedNamespace(nsid: number): Promise<ZonedNamespace> {
    return await ZonedNamespace.open(this, nsid);
  }

  /**
   * Waits for outstanding commands, deletes the queues, shuts the controller down, and closes the device. If a step fails,
   * the others are still done. Ends within the time limits of commands and of the shutdown.
   */
  close(): Promise<void> {
    this.closing = true;
    return this.engine.close();
  }

  /** close(), for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
