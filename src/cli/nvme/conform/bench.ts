/** The controller that `iova nvme conform` checks: it is started by hand, and every command and completion is watched. */
import { setTimeout as sleep, setImmediate as turn } from "node:timers/promises";
import { hexDigits } from "../../../core/hex-digits.js";
import { closeAll } from "../../../core/lifetime/close-all.js";
import type { DmaBuffer } from "../../../dma/buffer.js";
import { RawController } from "../../../nvme/queues/raw-controller.js";
import type { RawSubmissionQueue } from "../../../nvme/queues/rings.js";
import { writeRawEntry } from "../../../nvme/queues/submission-entry.js";
import {
  type IdentifyController,
  identifyController,
  identifyNamespace,
} from "../../../nvme/spec/identify.js";
import { AdminOpcode, FeatureId, IdentifyCns } from "../../../nvme/spec/opcodes.js";
import { SQE_WORDS } from "../../../nvme/spec/queue-entries.js";
import { QueueFlag } from "../../../nvme/spec/queues.js";
import {
  CommandSetSelection,
  CommandSetSupport,
  ControllerConfig,
  ControllerStatus,
  NvmeRegister,
  READY_UNIT_MS,
} from "../../../nvme/spec/registers.js";
import { statusName } from "../../../nvme/spec/status.js";
import type { Bar } from "../../../pci/bar.js";
import type { PciDevice } from "../../../pci/device.js";
import { Broken, expect, NotApplicable, needs } from "./findings.js";

const PAGE = 4096;
const ALL_ONES = 0xffff_ffff;
/** Turns of the event loop before a wait sleeps. */
const QUICK_TURNS = 100;
/** Status without CRD, M and DNR. */
const STATUS = 0x7ff;
const ADMIN_ENTRIES = 32;
const WANTED_PAIRS = 8;
const SHUTDOWN_MS = 60_000;
/** VS from which on there is a list of namespaces. */
export const VERSION_1_1 = 0x1_0100;

/** Fields of a submission queue entry; the others are 0. Data is `prp1`, a buffer, or words 6 to 9. */
export interface Fields {
  readonly opcode: number;
  /** Bits 15:8 of word 0: FUSE and PSDT. */
  readonly flags?: number;
  readonly cid?: number;
  readonly nsid?: number;
  readonly data?: DmaBuffer;
  readonly prp1?: bigint;
  readonly prp2?: bigint;
  /** CDW10 and those after it. */
  readonly cdw?: readonly number[];
}

/** A completion. */
export interface Completion {
  readonly dw0: number;
  readonly sqHead: number;
  /** Status code type and code. */
  readonly status: number;
  /** The same with CRD, M and DNR. */
  readonly field: number;
}

/** A submission queue with its completion queue, and the commands that are outstanding. */
export interface Queue {
  readonly sq: RawSubmissionQueue;
  readonly outstanding: Set<number>;
}

interface PairOptions {
  readonly entries?: number;
  readonly cqEntries?: number;
  /** Without one, the completion queue doesn't interrupt. */
  readonly vector?: number;
  readonly priority?: number;
}

/** What the tester gives. */
export interface GivenByTester {
  /** The namespace for I/O. */
  readonly nsid?: number | undefined;
  /** An image that the controller takes as firmware. */
  readonly firmware?: Uint8Array | undefined;
}

/** The namespace for I/O. */
export interface Blocks {
  readonly nsid: number;
  readonly blockBytes: number;
  readonly sizeBlocks: bigint;
}

/** `Invalid Field in Command (0h/02h)`. */
export function statusText(status: number): string {
  const [type, code] = [(status >> 8) & 7, status & 0xff];
  return `${statusName(type, code)} (${type}h/${hexDigits(code, 2)}h)`;
}

const low = (address: bigint): number => Number(address & 0xffff_ffffn);
const high = (address: bigint): number => Number(address >> 32n);

/** Starts, uses and stops the controller for checks. */
export class ConformBench implements Disposable {
  readonly raw: RawController;
  readonly bar: Bar;
  private adminQueue: Queue | undefined;
  private ioQueue: Queue | undefined;
  private readonly buffers: DmaBuffer[] = [];
  private readonly queues: Queue[] = [];
  private cid = 0;
  /** I/O queue pairs that the controller grants; asked for once after each start. */
  private pairs: number | undefined;

  /** @throws as RawController.on() */
  constructor(
    readonly device: PciDevice,
    /** Limit of each command. */
    readonly timeoutMs: number,
    readonly given: GivenByTester = {},
  ) {
    this.raw = RawController.on(device);
    this.bar = device.bar(0);
  }

  get cap(): RawController["capabilities"] {
    return this.raw.capabilities;
  }

  /** CSTS. @throws Broken if the device has gone or has failed */
  status(): number {
    const status = this.bar.read32(NvmeRegister.CSTS);
    expect(status !== ALL_ONES, "the device has gone: its registers read all ones");
    expect((status & ControllerStatus.CFS) === 0, "the controller has failed (CSTS.CFS)");
    return status;
  }

  /** Waits for a condition. @throws Broken after the limit, which names `what` */
  async until(what: string, condition: () => boolean, limitMs = this.timeoutMs): Promise<void> {
    const end = performance.now() + limitMs;
    for (let turns = 0; ; turns++) {
      // Looks once more after the limit: the process may have been suspended.
      const isLast = performance.now() >= end;
      if (condition()) return;
      if (isLast) throw new Broken(`${what}: not within ${limitMs} ms`);
      if (turns < QUICK_TURNS) await turn();
      else await sleep(1);
    }
  }

  /** CAP.TO, and a unit more because controllers round down. */
  get readyMs(): number {
    return this.cap.timeoutMs + READY_UNIT_MS;
  }

  /** Memory until the end of the check. */
  alloc(sizeBytes: number, options: Parameters<PciDevice["dma"]["alloc"]>[1] = {}): DmaBuffer {
    const buffer = this.device.dma.alloc(sizeBytes, options);
    this.buffers.push(buffer);
    return buffer;
  }

  /** Closes this with the other memory of the check. */
  keep(buffer: DmaBuffer): void {
    this.buffers.push(buffer);
  }

  /** Clears CC.EN and waits for CSTS.RDY 0. All queues are gone then. */
  async stop(): Promise<void> {
    const { bar } = this;
    expect(bar.read32(NvmeRegister.CSTS) !== ALL_ONES, "the device has gone: its registers read all ones");
    bar.write32(NvmeRegister.CC, bar.read32(NvmeRegister.CC) & ~ControllerConfig.EN);
    const { RDY } = ControllerStatus;
    await this.until("CSTS.RDY 0", () => (bar.read32(NvmeRegister.CSTS) & RDY) === 0, this.readyMs);
    this.adminQueue = undefined;
    this.ioQueue = undefined;
    this.pairs = undefined;
    for (const { sq } of this.queues.splice(0)) closeAll([sq, sq.completionQueue], "closing rings");
  }

  /** Shuts the controller down and waits for the end of that. @param how SHN */
  async shutDown(how: number, limitMs = SHUTDOWN_MS): Promise<void> {
    const { bar } = this;
    bar.write32(NvmeRegister.CC, bar.read32(NvmeRegister.CC) | how);
    const { SHST_MASK, SHST_COMPLETE } = ControllerStatus;
    await this.until("CSTS.SHST 10b", () => (this.status() & SHST_MASK) === SHST_COMPLETE, limitMs);
  }

  /**
   * Stops the controller and starts it.
   * @param cc further bits of CC
   * @param memory of the submission and the completion queue
   * @returns the admin queue
   */
  async start(
    entries = ADMIN_ENTRIES,
    { cc = 0, pageBytes = this.cap.minPageBytes, memory = [] as readonly DmaBuffer[] } = {},
  ): Promise<Queue> {
    const { bar, raw, device, cap } = this;
    await this.stop();
    device.config.busMaster = true;
    const completions = raw.completionQueue({ id: 0, entries, memory: memory[1] });
    const queue = this.watched(raw.submissionQueue(completions, { id: 0, entries, memory: memory[0] }));
    bar.write32(NvmeRegister.AQA, ((entries - 1) << 16) | (entries - 1));
    bar.write64(NvmeRegister.ASQ, queue.sq.memory.iova);
    bar.write64(NvmeRegister.ACQ, completions.memory.iova);
    const { allSupported } = CommandSetSupport;
    const css = (cap.css & allSupported) !== 0 ? CommandSetSelection.allSupported : CommandSetSelection.nvm;
    const mps = Math.log2(pageBytes) - 12;
    const sizes = (6 << ControllerConfig.IOSQES_SHIFT) | (4 << ControllerConfig.IOCQES_SHIFT);
    const config = (css << ControllerConfig.CSS_SHIFT) | (mps << ControllerConfig.MPS_SHIFT) | sizes;
    bar.write32(NvmeRegister.CC, (config | cc | ControllerConfig.EN) >>> 0);
    const isReady = (): boolean => (this.status() & ControllerStatus.RDY) !== 0;
    await this.until("CSTS.RDY 1", isReady, this.readyMs);
    this.adminQueue = queue;
    return queue;
  }

  /** The admin queue of a running controller. */
  async admin(): Promise<Queue> {
    return this.adminQueue ?? (await this.start());
  }

  /** An I/O queue of a running controller. */
  async io(): Promise<Queue> {
    if (this.ioQueue !== undefined) return this.ioQueue;
    const queue = await this.pair();
    this.ioQueue = queue;
    return queue;
  }

  private watched(sq: RawSubmissionQueue): Queue {
    const queue = { sq, outstanding: new Set<number>() };
    this.queues.push(queue);
    return queue;
  }

  /** An id that no queue has. @throws NotApplicable if the controller grants no more */
  async freeId(): Promise<number> {
    const admin = await this.admin();
    if (this.pairs === undefined) {
      const wanted = (WANTED_PAIRS - 1) * 0x1_0001;
      const { dw0 } = await this.ok(admin, {
        opcode: AdminOpcode.setFeatures,
        cdw: [FeatureId.numberOfQueues, wanted],
      });
      this.pairs = Math.min(dw0 & 0xffff, dw0 >>> 16) + 1;
    }
    for (let id = 1; id <= this.pairs; id++) if (this.queues.every(({ sq }) => sq.id !== id)) return id;
    throw new NotApplicable(`the controller grants only ${this.pairs} I/O queues`);
  }

  /** Creates a completion queue and a submission queue. @throws Broken */
  async pair(
    { entries = 16, cqEntries = entries, vector = -1, priority = 0 }: PairOptions = {},
    memory: { readonly sq?: DmaBuffer; readonly cq?: DmaBuffer } = {},
  ): Promise<Queue> {
    const admin = await this.admin();
    const id = await this.freeId();
    const cq = this.raw.completionQueue({ id, entries: cqEntries, memory: memory.cq });
    const queue = this.watched(this.raw.submissionQueue(cq, { id, entries, memory: memory.sq }));
    const interrupts = vector < 0 ? 0 : (vector << 16) | QueueFlag.interruptsEnabled;
    const { contiguous, PRIORITY_SHIFT } = QueueFlag;
    const { createIoCompletionQueue, createIoSubmissionQueue } = AdminOpcode;
    const size = (count: number): number => ((count - 1) << 16) | id;
    await this.ok(admin, {
      opcode: createIoCompletionQueue,
      prp1: cq.memory.iova,
      cdw: [size(cqEntries), interrupts | contiguous],
    });
    const flags = (id << 16) | (priority << PRIORITY_SHIFT) | contiguous;
    await this.ok(admin, {
      opcode: createIoSubmissionQueue,
      prp1: queue.sq.memory.iova,
      cdw: [size(entries), flags],
    });
    return queue;
  }

  /** Deletes both queues of a pair. @throws Broken */
  async remove(queue: Queue): Promise<void> {
    const { sq } = queue;
    const admin = await this.admin();
    await this.ok(admin, { opcode: AdminOpcode.deleteIoSubmissionQueue, cdw: [sq.id] });
    await this.ok(admin, { opcode: AdminOpcode.deleteIoCompletionQueue, cdw: [sq.id] });
    this.queues.splice(this.queues.indexOf(queue), 1);
    closeAll([sq, sq.completionQueue], "closing rings");
  }

  /** Writes an entry, without the doorbell. @returns the command's id */
  post({ sq, outstanding }: Queue, fields: Fields): number {
    const { opcode, flags = 0, nsid = 0, data, prp1 = data?.iova ?? 0n, prp2 = 0n, cdw = [] } = fields;
    const cid = fields.cid ?? this.cid++ % 0xff00;
    const entry = new Uint32Array(SQE_WORDS);
    entry.set([opcode | (flags << 8) | (cid << 16), nsid]);
    entry.set([low(prp1), high(prp1), low(prp2), high(prp2), ...cdw], 6);
    writeRawEntry(sq.ring.words, sq.ring.slot, entry);
    sq.ring.post();
    outstanding.add(cid);
    return cid;
  }

  /** Takes a completion if there is one. @throws Broken if it is for none of the outstanding commands */
  take({ sq, outstanding }: Queue): (Completion & { readonly cid: number }) | undefined {
    const { ring } = sq.completionQueue;
    const at = ring.peek();
    if (at < 0) return undefined;
    const [dw0 = 0, , dw2 = 0, dw3 = 0] = ring.words.subarray(at, at + 4);
    ring.take();
    sq.completionQueue.ringDoorbell();
    const cid = dw3 & 0xffff;
    expect(dw2 >>> 16 === sq.id, `a completion names submission queue ${dw2 >>> 16}, not ${sq.id}`);
    expect(outstanding.delete(cid), `a completion names command ${cid}, which isn't outstanding`);
    return { dw0, cid, sqHead: dw2 & 0xffff, status: (dw3 >>> 17) & STATUS, field: dw3 >>> 17 };
  }

  /** Waits for the completion of one command. @throws Broken */
  async completed(queue: Queue, cid: number, limitMs = this.timeoutMs): Promise<Completion> {
    let found: ReturnType<ConformBench["take"]>;
    const isThere = (): boolean => {
      while (found?.cid !== cid) {
        found = this.take(queue);
        if (found === undefined) break;
      }
      if (found === undefined) this.status();
      return found !== undefined;
    };
    await this.until(`the completion of command ${cid}`, isThere, limitMs).catch((error) => {
      // Why not? The entry may be there with the phase of the last pass.
      const { ring } = queue.sq.completionQueue;
      const word = ring.words[ring.position.head * 4 + 3] ?? 0;
      const isOld = (word & 0xffff) === cid && ((word >>> 16) & 1) !== ring.position.phase;
      throw isOld ? new Broken(`the completion of command ${cid} has the phase of the last pass`) : error;
    });
    return found ?? { dw0: 0, sqHead: 0, status: 0, field: 0 };
  }

  /** Sends a command and waits for its completion. @throws Broken */
  async send(queue: Queue, fields: Fields, limitMs?: number): Promise<Completion> {
    const cid = this.post(queue, fields);
    queue.sq.ringDoorbell();
    return await this.completed(queue, cid, limitMs);
  }

  /** Sends a command that must succeed. @throws Broken */
  async ok(queue: Queue, fields: Fields, limitMs?: number): Promise<Completion> {
    const completion = await this.send(queue, fields, limitMs);
    const { status } = completion;
    expect(status === 0, `opcode ${hexDigits(fields.opcode, 2)}h failed: ${statusText(status)}`);
    return completion;
  }

  /** Sends a command that must fail with one of these statuses. @throws Broken */
  async fails(queue: Queue, fields: Fields, ...expected: readonly number[]): Promise<void> {
    const { status } = await this.send(queue, fields);
    const wanted = expected.map(statusText).join(" or ");
    expect(
      expected.includes(status),
      `expected ${wanted}, got ${status === 0 ? "success" : statusText(status)}`,
    );
  }

  /** The bytes of an Identify page. @throws Broken */
  async identify(cns: number, nsid = 0, csi = 0): Promise<Uint8Array> {
    const page = this.alloc(PAGE);
    await this.ok(await this.admin(), {
      opcode: AdminOpcode.identify,
      nsid,
      data: page,
      cdw: [cns, csi << 24],
    });
    return page.bytes;
  }

  async controller(): Promise<IdentifyController> {
    return identifyController.decode(await this.identify(IdentifyCns.controller));
  }

  /** The wanted namespace, or the first, if plain blocks can be read there. @throws NotApplicable, Broken */
  async blocks(): Promise<Blocks> {
    const nsid = this.given.nsid ?? (await this.firstNamespace());
    needs(nsid !== 0, "there is no active namespace");
    const ns = identifyNamespace.decode(await this.identify(IdentifyCns.namespace, nsid));
    const format = ns.lbaf[(ns.flbas & 0xf) | (ns.nlbaf >= 16 ? ((ns.flbas >> 5) & 3) << 4 : 0)];
    const blockBytes = format?.blockSizeBytes ?? 0;
    if (blockBytes < 512) throw new NotApplicable(`namespace ${nsid} has no blocks`);
    needs(format?.metadataBytes === 0, `namespace ${nsid} has metadata`);
    return { nsid, blockBytes, sizeBlocks: ns.nsze };
  }

  private async firstNamespace(): Promise<number> {
    if (this.bar.read32(NvmeRegister.VS) < VERSION_1_1) return 1;
    const list = await this.identify(IdentifyCns.activeNamespaces);
    return new DataView(list.buffer, list.byteOffset).getUint32(0, true);
  }

  /** Most bytes of one command's data, of those that checks try. */
  async maxTransferBytes(): Promise<number> {
    const { mdts } = await this.controller();
    return Math.min(mdts === 0 ? 1 << 20 : 2 ** mdts * this.cap.minPageBytes, 4 << 20);
  }

  /** After each check: the controller runs as it did, and no completion is left over. @throws Broken */
  verify(): void {
    this.status();
    for (const queue of this.queues) while (this.take(queue) !== undefined);
  }

  /** Frees a check's memory. The controller is stopped first if it may still use it. */
  async endCheck(isFresh: boolean): Promise<void> {
    const isBusy = this.queues.some(({ outstanding }) => outstanding.size > 0);
    try {
      if (isFresh || isBusy) await this.stop();
    } finally {
      closeAll(this.buffers.splice(0), "closing buffers of a check");
    }
  }

  /** Frees all memory. The controller can't reach it then. */
  [Symbol.dispose](): void {
    this.raw.close();
    closeAll(this.buffers.splice(0), "closing buffers of checks");
  }
}
