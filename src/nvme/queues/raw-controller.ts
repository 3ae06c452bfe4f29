/** A controller that no driver has started: its rings and doorbells, for tests that take each step of its start themselves. */
import { checkInteger, checkKeys, checkMembers } from "../../core/check.js";
import { ArgumentError, DeviceGoneError } from "../../core/errors.js";
import { Resource } from "../../core/lifetime/resource.js";
import type { ConfigSpace } from "../../pci/config-space.js";
import type { PciDevice } from "../../pci/device.js";
import { DeviceAddresses } from "../command/device-addresses.js";
import { ControllerMemoryBuffer } from "../memory/cmb.js";
import { ControllerRegisters } from "../memory/registers.js";
import { CQE_BYTES, SQE_BYTES, SQE_WORDS } from "../spec/queue-entries.js";
import type { Capabilities } from "../spec/registers.js";
import { type DeviceUse, driveDevice } from "./device-driver.js";
import { Doorbells } from "./doorbells.js";
import { ringMemory } from "./ring-memory.js";
import { type QueueHost, RawCompletionQueue, type RawQueueOptions, RawSubmissionQueue } from "./rings.js";

/** Options of the rings of a {@link RawController}. */
export type RawRingOptions = Pick<RawQueueOptions, "id" | "entries" | "memory">;

/**
 * An NVMe controller without a driver. Nothing here writes a register or sends a command, except doorbells that you ring: reset it,
 * set up its admin queue and create its I/O queues by BAR 0 and by commands of your own (docs/nvme.md says how).
 * `close()` ends the function's bus mastering, so that the controller can't reach the rings' memory, and frees the rings.
 */
export class RawController extends Resource {
  /** The register CAP, as `on()` read it. */
  readonly capabilities: Capabilities;
  private readonly host: QueueHost;
  private cmb: ControllerMemoryBuffer | undefined = undefined;

  private constructor(
    /** The controller's PCI function, whose BAR 0 has the registers. */
    readonly device: PciDevice,
    capabilities: Capabilities,
    doorbells: Doorbells,
  ) {
    const { bdf, config, dma } = device;
    const use = driveDevice(device, "a RawController");
    super({ label: `raw NVMe controller ${bdf}`, release: endOfUse(use, config), parents: [device] });
    this.capabilities = capabilities;
    this.host = {
      name: bdf,
      dma,
      strideWords: capabilities.doorbellStrideBytes / 4,
      doorbells: (index) => doorbells.add(index),
      sharedDoorbells: () => (doorbells.afterRing === undefined ? doorbells.words : undefined),
      afterRing: () => doorbells.afterRing?.(),
      bar: device.bar(0),
      lease: this.lease,
    };
  }

  /**
   * Reads CAP and maps the doorbells. Writes nothing.
   * @throws ArgumentError, DeviceGoneError, UnsupportedError if BAR 0 has no doorbells, SysError,
   *   StateError if an NvmeController or another RawController has the device
   */
  static on(device: PciDevice): RawController {
    checkMembers("device", device, "a PciDevice", { bar: "function", config: "object", dma: "object" });
    const capabilities = new ControllerRegisters(device.bar(0), device.bdf).capabilities();
    return new RawController(device, capabilities, new Doorbells(device));
  }

  /**
   * Makes the ring of a completion queue; id 0 is the admin queue's. The controller learns of it by what you write to AQA and ACQ, or
   * by Create I/O Completion Queue. The memory is zeroed; by default it is allocated, contiguous, and starts at a memory page.
   * @throws ArgumentError, ClosedError, SysError
   */
  completionQueue(options: RawRingOptions): RawCompletionQueue {
    const { memory, isOwn } = this.ring(options, CQE_BYTES);
    return new RawCompletionQueue(this.host, options.id, options.entries, memory, isOwn);
  }

  /**
   * Makes the ring of a submission queue; id 0 is the admin queue's. Several may share a completion queue.
   * @throws ArgumentError, ClosedError, SysError
   */
  submissionQueue(completionQueue: RawCompletionQueue, options: RawRingOptions): RawSubmissionQueue {
    if (!(completionQueue instanceof RawCompletionQueue))
      throw new ArgumentError("completionQueue must come from completionQueue()");
    completionQueue.lease.assertOpen();
    const { memory, isOwn } = this.ring(options, SQE_BYTES);
    completionQueue.users.add(options.id);
    const { id, entries } = options;
    return new RawSubmissionQueue(this.host, id, entries, memory, isOwn, completionQueue, SQE_WORDS);
  }

  /**
   * The controller memory buffer, which the first call gives an address and enables (CMBMSC).
   * @throws UnsupportedError if there is none, NvmeProtocolError if the controller rejects the address
   */
  controllerMemoryBuffer(): ControllerMemoryBuffer {
    this.lease.assertOpen();
    const { device, capabilities } = this;
    const addresses = new DeviceAddresses(device.bdf, device.dma);
    this.cmb ??= ControllerMemoryBuffer.enable(device, capabilities.cmbs, addresses);
    return this.cmb;
  }

  private ring(options: RawRingOptions, entryBytes: number): ReturnType<typeof ringMemory> {
    this.lease.assertOpen();
    checkKeys("options", options, ["id", "entries", "memory"]);
    const { id, entries, memory } = options;
    const { host, capabilities } = this;
    checkInteger("id", id, 0, 0xffff);
    checkInteger("entries", entries, 2, 65536);
    return ringMemory(host.dma, memory, entries * entryBytes, capabilities.minPageBytes, true);
  }
}

function endOfUse(use: DeviceUse, config: ConfigSpace): () => void {
  return () => {
    use.ended = true;
    try {
      config.busMaster = false;
    } catch (error) {
      // A device that has gone reaches no memory.
      if (!(error instanceof DeviceGoneError)) throw error;
    }
  };
}
