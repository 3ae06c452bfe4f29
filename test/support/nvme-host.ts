/** A host for the emulated controller in the same process: memory, registers and queues. */
import { EmulatedNvme } from "../../src/emulator/nvme/controller.js";
import type { NvmeEmulatorOptions } from "../../src/emulator/nvme/options.js";
import { CompletionQueue } from "../../src/nvme/queues/completion-queue.js";
import { SQE_WORDS, SubmissionQueue } from "../../src/nvme/queues/submission-queue.js";
import { AdminOpcode } from "../../src/nvme/spec/opcodes.js";
import { ControllerConfig, NvmeRegister } from "../../src/nvme/spec/registers.js";
import { MappedMemory } from "../../src/sys/memory.js";
import type { ClientMemory, DeviceHost, MemorySpan } from "../../src/vfio-user/server/emulated-device.js";

const TWO_32 = 2 ** 32;

/** A client's memory: real mappings, at I/O virtual addresses that the test chooses. */
export class TestMemory implements ClientMemory {
  generation = 0;
  private readonly mappings: {
    iova: number;
    memory: MappedMemory;
    writable: boolean;
    whole: Uint8Array<SharedArrayBuffer>;
    words: Uint32Array<SharedArrayBuffer>;
  }[] = [];

  map(iova: number, memory: MappedMemory, writable = true): void {
    this.mappings.push({
      iova,
      memory,
      writable,
      whole: new Uint8Array(memory.buffer),
      words: new Uint32Array(memory.buffer),
    });
    this.generation++;
  }

  unmap(iova: number): void {
    const index = this.mappings.findIndex((mapping) => mapping.iova === iova);
    this.mappings.splice(index, 1);
    this.generation++;
  }

  find(iova: number, lengthBytes: number, write: boolean, span: MemorySpan): boolean {
    for (const { iova: base, memory, writable, whole, words } of this.mappings) {
      if (iova < base || iova + lengthBytes > base + memory.sizeBytes || (write && !writable)) continue;
      span.bytes = whole;
      span.words = words;
      span.offset = memory.bytes.byteOffset + (iova - base);
      return true;
    }
    return false;
  }

  canCopy(iova: number, lengthBytes: number, write: boolean): boolean {
    return this.views(iova, lengthBytes, write) !== undefined;
  }

  copyFrom(iova: number, target: Uint8Array): boolean {
    const views = this.views(iova, target.length, false);
    let done = 0;
    for (const view of views ?? []) {
      target.set(view, done);
      done += view.length;
    }
    return views !== undefined;
  }

  copyTo(iova: number, source: Uint8Array): boolean {
    const views = this.views(iova, source.length, true);
    let done = 0;
    for (const view of views ?? []) {
      view.set(source.subarray(done, done + view.length));
      done += view.length;
    }
    return views !== undefined;
  }

  /** The pages of a range; undefined if not all of it is mapped. */
  private views(iova: number, lengthBytes: number, write: boolean): readonly Uint8Array[] | undefined {
    const nothing = new SharedArrayBuffer(0);
    const span: MemorySpan = { bytes: new Uint8Array(nothing), words: new Uint32Array(nothing), offset: 0 };
    const views: Uint8Array[] = [];
    if (iova + lengthBytes > Number.MAX_SAFE_INTEGER) return undefined;
    for (let at = iova; at < iova + lengthBytes; ) {
      const end = Math.min(iova + lengthBytes, (Math.floor(at / 4096) + 1) * 4096);
      if (!this.find(at, end - at, write, span)) return undefined;
      views.push(span.bytes.subarray(span.offset, span.offset + end - at));
      at = end;
    }
    return views;
  }

  read(): Promise<void> {
    return Promise.reject(new Error("no memory here is without a descriptor"));
  }

  write(): Promise<void> {
    return Promise.reject(new Error("no memory here is without a descriptor"));
  }
}

/** A command. Fields that are left out are 0. */
export interface TestCommand {
  readonly opcode: number;
  readonly flags?: number;
  readonly cid?: number;
  readonly nsid?: number;
  readonly mptr?: number;
  readonly prp1?: number;
  readonly prp2?: number;
  /** DW6 to DW9, instead of PRPs. */
  readonly dptr?: readonly number[];
  readonly cdw2?: number;
  readonly cdw3?: number;
  readonly cdw10?: number;
  readonly cdw11?: number;
  readonly cdw12?: number;
  readonly cdw13?: number;
  readonly cdw14?: number;
  readonly cdw15?: number;
}

export interface TestCompletion {
  readonly dw0: number;
  readonly dw1: number;
  readonly sqhd: number;
  readonly sqid: number;
  readonly cid: number;
  /** SCT << 8 | SC. */
  readonly status: number;
  readonly dnr: boolean;
  readonly more: boolean;
}

/** A queue pair, over the library's own rings. */
export class TestQueue {
  constructor(
    private readonly host: NvmeTestHost,
    readonly sq: SubmissionQueue,
    readonly cq: CompletionQueue,
  ) {}

  /** Writes an entry and rings the doorbell. */
  post(command: TestCommand, ring = true): void {
    const { words, slot } = this.sq;
    const low = (address = 0): number => address % TWO_32;
    const high = (address = 0): number => Math.floor(address / TWO_32);
    words.fill(0, slot, slot + SQE_WORDS);
    words[slot] = command.opcode | (command.flags ?? 0) | ((command.cid ?? this.host.nextCid()) << 16);
    words[slot + 1] = command.nsid ?? 0;
    words[slot + 2] = command.cdw2 ?? 0;
    words[slot + 3] = command.cdw3 ?? 0;
    words[slot + 4] = low(command.mptr);
    words[slot + 5] = high(command.mptr);
    words.set(
      command.dptr ?? [low(command.prp1), high(command.prp1), low(command.prp2), high(command.prp2)],
      slot + 6,
    );
    words[slot + 10] = command.cdw10 ?? 0;
    words[slot + 11] = command.cdw11 ?? 0;
    words[slot + 12] = command.cdw12 ?? 0;
    words[slot + 13] = command.cdw13 ?? 0;
    words[slot + 14] = command.cdw14 ?? 0;
    words[slot + 15] = command.cdw15 ?? 0;
    this.sq.post();
    if (ring) this.sq.ring();
  }

  /** The next completion; undefined if there is none. */
  take(): TestCompletion | undefined {
    const at = this.cq.peek();
    if (at < 0) return undefined;
    const word = (index: number): number => this.cq.words[at + index] ?? 0;
    const field = word(3) >>> 17;
    const completion = {
      dw0: word(0),
      dw1: word(1),
      sqhd: word(2) & 0xffff,
      sqid: word(2) >>> 16,
      cid: word(3) & 0xffff,
      status: field & 0x7ff,
      dnr: (field & (1 << 14)) !== 0,
      more: (field & (1 << 13)) !== 0,
    };
    this.cq.take();
    this.cq.ring();
    return completion;
  }

  /** Posts, lets the controller work, and takes the completion. @throws Error if there is none */
  run(command: TestCommand): TestCompletion {
    this.post(command);
    this.host.device.pump();
    const completion = this.take();
    if (completion === undefined)
      throw new Error(`command 0x${command.opcode.toString(16)} was not completed`);
    return completion;
  }
}

export const SUCCESS = 0;
/** Address of the test's memory for the device. */
export const MEMORY_AT = 0x1_0000_0000;
export const MEMORY_BYTES = 8 << 20;
const ADMIN_ENTRIES = 32;

/** A host of the emulated controller, in the same process: registers through the BAR, queues in memory. */
export class NvmeTestHost implements DeviceHost {
  readonly memory = new TestMemory();
  readonly device: EmulatedNvme;
  readonly raised: number[] = [];
  readonly ram: MappedMemory;
  private readonly doorbells: Uint32Array;
  private readonly doorbellMemory: MappedMemory;
  private cid = 0;
  private used = 0;
  private adminQueue: TestQueue | undefined;

  /**
   * @param polled whether the controller drives itself; otherwise the test calls pump()
   * @param device a controller that is there already; the options are its own then
   * @param served memory for the controller instead of `memory`; `ram` shows what is at {@link MEMORY_AT} in it
   */
  constructor(
    options: NvmeEmulatorOptions = {},
    polled = false,
    served?: { readonly ram: MappedMemory; readonly memory: ClientMemory },
    device?: EmulatedNvme,
  ) {
    this.device = device ?? EmulatedNvme.create({ sizeBytes: 16 << 20, ...options }, polled);
    this.ram = served?.ram ?? MappedMemory.anonymous(MEMORY_BYTES);
    this.memory.map(MEMORY_AT, this.ram);
    const [area] = this.device.bars[0]?.mappable ?? [];
    // Doorbells that can't be mapped are here until sendDoorbells().
    this.doorbellMemory =
      area === undefined
        ? MappedMemory.anonymous(4096)
        : MappedMemory.ofFile(area.fd, area.fdOffset, area.sizeBytes, "doorbells");
    this.doorbells = this.doorbellMemory.words;
    this.device.connect(
      served === undefined
        ? this
        : { memory: served.memory, raise: (vector, kind) => this.raise(vector, kind) },
    );
  }

  /** Continues with the controller and memory of another host. That one has stopped for good, this one has not begun. */
  takeOver(source: NvmeTestHost): void {
    source.device.migration.stop();
    const state = source.device.migration.save();
    this.ram.bytes.set(source.ram.bytes);
    this.device.migration.stop();
    this.device.migration.load(state);
  }

  raise(vector: number, kind: "intx" | "msi" | "msix" = "msix"): void {
    if (kind === "msix") this.raised.push(vector);
  }

  nextCid(): number {
    this.cid = (this.cid + 1) & 0x7fff;
    return this.cid;
  }

  /** Page-aligned memory; returns its offset in `ram`, zeroed. */
  alloc(sizeBytes: number): number {
    const at = this.used;
    this.used += Math.ceil(sizeBytes / 4096) * 4096;
    if (this.used > MEMORY_BYTES) throw new Error("the test's memory is used up");
    this.ram.bytes.fill(0, at, at + sizeBytes);
    return at;
  }

  /** Frees all that was allocated, including queues. */
  freeAll(): void {
    this.used = 0;
  }

  iova(offset: number): number {
    return MEMORY_AT + offset;
  }

  bytes(offset: number, length: number): Uint8Array {
    return this.ram.bytes.subarray(offset, offset + length);
  }

  read32(offset: number): number {
    const target = new Uint8Array(4);
    this.device.bars[0]?.read(offset, target);
    return new DataView(target.buffer).getUint32(0, true);
  }

  write32(offset: number, value: number): void {
    const source = new Uint8Array(4);
    new DataView(source.buffer).setUint32(0, value >>> 0, true);
    this.device.bars[0]?.write(offset, source);
  }

  writeDoorbell(index: number, value: number): void {
    this.doorbells[index] = value;
  }

  readDoorbell(index: number): number {
    return this.doorbells[index] ?? 0;
  }

  get doorbellWords(): Uint32Array {
    return this.doorbells;
  }

  /** Sends doorbells as messages, as a client does that can't map them. */
  sendDoorbells(...indexes: readonly number[]): void {
    for (const index of indexes) this.write32(0x1000 + 4 * index, this.readDoorbell(index));
  }

  get status(): number {
    return this.read32(NvmeRegister.CSTS);
  }

  /** Sets up the admin queues and enables. */
  enable(config = 0, entries = ADMIN_ENTRIES): void {
    this.enableAt(this.alloc(entries * 64), this.alloc(entries * 16), config, entries);
  }

  /** The same, with the queues at these offsets. */
  enableAt(sq: number, cq: number, config = 0, entries = ADMIN_ENTRIES): void {
    this.enableRegisters(sq, cq, config, entries);
    this.adminQueue = this.queue(0, entries, sq, cq, this.doorbells);
  }

  /** The same without rings, for queues outside `ram`. */
  enableRegisters(sq: number, cq: number, config = 0, entries = ADMIN_ENTRIES): void {
    this.write32(NvmeRegister.AQA, ((entries - 1) << 16) | (entries - 1));
    this.write32(NvmeRegister.ASQ, this.iova(sq) % TWO_32);
    this.write32(NvmeRegister.ASQ + 4, Math.floor(this.iova(sq) / TWO_32));
    this.write32(NvmeRegister.ACQ, this.iova(cq) % TWO_32);
    this.write32(NvmeRegister.ACQ + 4, Math.floor(this.iova(cq) / TWO_32));
    this.write32(
      NvmeRegister.CC,
      config |
        ControllerConfig.EN |
        (6 << ControllerConfig.IOSQES_SHIFT) |
        (4 << ControllerConfig.IOCQES_SHIFT),
    );
  }

  get admin(): TestQueue {
    if (this.adminQueue === undefined) throw new Error("not enabled");
    return this.adminQueue;
  }

  /** Rings over memory given by the caller. */
  queue(id: number, entries: number, sq: number, cq: number, doorbells: Uint32Array): TestQueue {
    const words = (offset: number, count: number): Uint32Array =>
      this.ram.words.subarray(offset / 4, offset / 4 + count);
    return new TestQueue(
      this,
      new SubmissionQueue(id, entries, words(sq, entries * 16), doorbells, 2 * id),
      new CompletionQueue(id, entries, words(cq, entries * 4), doorbells, 2 * id + 1),
    );
  }

  /** Creates an I/O queue pair by commands. @throws Error if the controller rejects them */
  createIo(id = 1, entries = 64, options: { vector?: number; doorbells?: Uint32Array } = {}): TestQueue {
    return this.createIoAt(id, entries, this.alloc(entries * 64), this.alloc(entries * 16), options);
  }

  /** The same, with the queues at these offsets. */
  createIoAt(
    id: number,
    entries: number,
    sq: number,
    cq: number,
    options: { vector?: number; doorbells?: Uint32Array } = {},
  ): TestQueue {
    const { vector } = options;
    const size = (((entries - 1) << 16) | id) >>> 0;
    const first = this.admin.run({
      opcode: AdminOpcode.createIoCompletionQueue,
      prp1: this.iova(cq),
      cdw10: size,
      cdw11: (((vector ?? 0) << 16) | (vector === undefined ? 1 : 3)) >>> 0,
    });
    const second = this.admin.run({
      opcode: AdminOpcode.createIoSubmissionQueue,
      prp1: this.iova(sq),
      cdw10: size,
      cdw11: ((id << 16) | 1) >>> 0,
    });
    if (first.status !== SUCCESS || second.status !== SUCCESS) {
      throw new Error(`queue ${id}: status ${first.status.toString(16)}, ${second.status.toString(16)}`);
    }
    return this.queue(id, entries, sq, cq, options.doorbells ?? this.doorbells);
  }

  /** Identify into a copy of the page. */
  identify(cns: number, nsid = 0, csi = 0): { status: number; page: Uint8Array } {
    const at = this.alloc(4096);
    const { status } = this.admin.run({
      opcode: AdminOpcode.identify,
      nsid,
      prp1: this.iova(at),
      cdw10: cns,
      cdw11: (csi << 24) >>> 0,
    });
    return { status, page: this.bytes(at, 4096).slice() };
  }

  /** Get Log Page into a copy. */
  log(
    id: number,
    lengthBytes: number,
    options: { nsid?: number; csi?: number; offset?: number; index?: number; retain?: boolean } = {},
  ): {
    status: number;
    page: Uint8Array;
  } {
    const at = this.alloc(lengthBytes);
    const { status } = this.admin.run({
      opcode: AdminOpcode.getLogPage,
      nsid: options.nsid ?? 0xffff_ffff,
      prp1: this.iova(at),
      cdw10: (((lengthBytes / 4 - 1) << 16) | (options.retain === true ? 1 << 15 : 0) | id) >>> 0,
      cdw12: options.index ?? options.offset ?? 0,
      cdw14: (((options.csi ?? 0) << 24) | (options.index === undefined ? 0 : 1 << 23)) >>> 0,
    });
    return { status, page: this.bytes(at, lengthBytes).slice() };
  }

  close(): void {
    this.device.close();
    this.doorbellMemory.close();
    this.ram.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A host with an enabled controller and one I/O queue pair. */
export function startedHost(
  options: NvmeEmulatorOptions = {},
  config = 0,
): { host: NvmeTestHost; io: TestQueue } & Disposable {
  const host = new NvmeTestHost(options);
  host.enable(config);
  const io = host.createIo();
  return { host, io, [Symbol.dispose]: () => host.close() };
}
