/**
 * What the examples of this folder share: the controller that they test, and sentences that it keeps or breaks. The examples up to
 * 05 do by hand what `start()` does here in one call.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { type Bar, type DmaBuffer, PciDevice } from "iova";
import { type NvmeEmulatorOptions, type RunningEmulator, startEmulator } from "iova/emulator";
import {
  AdminOpcode,
  ControllerConfig,
  ControllerStatus,
  NvmeRegister,
  type RawCompletionQueue,
  RawController,
  type RawSubmissionQueue,
  SQE_WORDS,
  writeRawEntry,
} from "iova/nvme";

/** How long a controller may take for what takes no time. */
const LIMIT_MS = 10_000;

/** Prints a sentence about the controller and whether it holds. One that doesn't makes the program end with status 1. */
export function claim(sentence: string, holds: boolean, found?: unknown): void {
  console.log(holds ? "  holds " : "  BROKEN", sentence, found === undefined ? "" : `(${String(found)})`);
  if (!holds) process.exitCode = 1;
}

/** Waits until `condition` holds. @returns false after the time limit */
export async function until(condition: () => boolean, limitMs = LIMIT_MS): Promise<boolean> {
  for (const end = performance.now() + limitMs; performance.now() < end; await setTimeout(1))
    if (condition()) return true;
  return condition();
}

/** The words of a submission queue entry: NVMe Base, "Submission Queue Entry". */
export interface Entry {
  readonly opcode: number;
  readonly cid?: number;
  readonly nsid?: number;
  readonly prp1?: bigint;
  readonly prp2?: bigint;
  readonly cdw10?: number;
  readonly cdw11?: number;
  readonly cdw12?: number;
}

/** Builds an entry. `04-submission-queue-entry.ts` explains its words. */
export function entryOf({ opcode, cid = 1, nsid = 0, prp1 = 0n, prp2 = 0n, ...rest }: Entry): Uint32Array {
  const entry = new Uint32Array(SQE_WORDS);
  const low = (address: bigint): number => Number(address & 0xffff_ffffn);
  entry.set([opcode | (cid << 16), nsid]);
  entry.set([low(prp1), Number(prp1 >> 32n), low(prp2), Number(prp2 >> 32n)], 6);
  entry.set([rest.cdw10 ?? 0, rest.cdw11 ?? 0, rest.cdw12 ?? 0], 10);
  return entry;
}

/** A completion queue entry, decoded. `05-completion-queue-entry.ts` explains its words. */
export interface Completion {
  readonly dw0: number;
  readonly sqHead: number;
  readonly sqid: number;
  readonly cid: number;
  /** Status code type in bits 10:8, status code in 7:0. */
  readonly status: number;
}

/** The controller that is tested, without a driver. */
export class Bench implements AsyncDisposable {
  private constructor(
    readonly device: PciDevice,
    readonly raw: RawController,
    /** The emulated controller, if the program started one. */
    readonly emulator: RunningEmulator | undefined,
    private readonly folder: string | undefined,
  ) {}

  /**
   * Opens the controller of the command line: a PCI address that is bound to vfio-pci, or `vfio-user:PATH`. Without one, it starts the
   * embedded controller.
   */
  static async open(options: NvmeEmulatorOptions = {}, target = process.argv[2]): Promise<Bench> {
    if (target !== undefined) return Bench.on(target, undefined, undefined);
    const folder = mkdtempSync(join(tmpdir(), "nvme-testing-"));
    const emulated = { sizeBytes: 16 << 20, cmbBytes: 1 << 20, ...options };
    const emulator = await startEmulator({
      socket: join(folder, "nvme.sock"),
      device: "nvme",
      options: emulated,
    });
    return Bench.on(emulator.address, emulator, folder);
  }

  private static on(
    address: string,
    emulator: RunningEmulator | undefined,
    folder: string | undefined,
  ): Bench {
    const device = PciDevice.open(address);
    return new Bench(device, RawController.on(device), emulator, folder);
  }

  get bar(): Bar {
    return this.device.bar(0);
  }

  /** Memory that the device reaches, closed with it. */
  alloc(sizeBytes: number): DmaBuffer {
    return this.device.dma.alloc(sizeBytes);
  }

  /** Clears CC.EN, and waits until the controller has stopped. */
  async stop(): Promise<void> {
    const { bar } = this;
    bar.write32(NvmeRegister.CC, bar.read32(NvmeRegister.CC) & ~ControllerConfig.EN);
    if (!(await until(() => (bar.read32(NvmeRegister.CSTS) & ControllerStatus.RDY) === 0)))
      throw new Error("CSTS.RDY stays 1 after CC.EN was cleared");
  }

  /** Resets the controller and starts it. `03-admin-queue.ts` explains the steps. @returns its admin queue */
  async start(entries = 32): Promise<RawSubmissionQueue> {
    const { bar, raw, device } = this;
    device.config.busMaster = true;
    await this.stop();
    const completions = raw.completionQueue({ id: 0, entries });
    const submissions = raw.submissionQueue(completions, { id: 0, entries });
    bar.write32(NvmeRegister.AQA, ((entries - 1) << 16) | (entries - 1));
    bar.write64(NvmeRegister.ASQ, submissions.memory.iova);
    bar.write64(NvmeRegister.ACQ, completions.memory.iova);
    const sizes = (6 << ControllerConfig.IOSQES_SHIFT) | (4 << ControllerConfig.IOCQES_SHIFT);
    bar.write32(NvmeRegister.CC, sizes | ControllerConfig.EN);
    if (!(await until(() => (bar.read32(NvmeRegister.CSTS) & ControllerStatus.RDY) === 1)))
      throw new Error("CSTS.RDY stays 0 after CC.EN was set");
    return submissions;
  }

  /** Creates an I/O completion queue and a submission queue for it. @param send sends an admin command that must succeed */
  async pair(
    admin: RawSubmissionQueue,
    { id = 1, sqEntries = 16, cqEntries = 16, vector }: Readonly<Record<string, number | undefined>> = {},
    send: (queue: RawSubmissionQueue, entry: Entry) => Promise<unknown> = expectSuccess,
  ): Promise<RawSubmissionQueue> {
    const cq = this.raw.completionQueue({ id, entries: cqEntries });
    const sq = this.raw.submissionQueue(cq, { id, entries: sqEntries });
    const interrupts = vector === undefined ? 0 : (vector << 16) | 2;
    await send(admin, {
      opcode: AdminOpcode.createIoCompletionQueue,
      prp1: cq.memory.iova,
      cdw10: ((cqEntries - 1) << 16) | id,
      cdw11: interrupts | 1,
    });
    await send(admin, {
      opcode: AdminOpcode.createIoSubmissionQueue,
      prp1: sq.memory.iova,
      cdw10: ((sqEntries - 1) << 16) | id,
      cdw11: (id << 16) | 1,
    });
    return sq;
  }

  /** Stops the controller before its memory goes. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop().catch(() => {});
    this.raw.close();
    this.device.close();
    await this.emulator?.close();
    if (this.folder !== undefined) rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Writes an entry to the queue's next slot. The controller doesn't know of it before `queue.ringDoorbell()`. */
export function post(queue: RawSubmissionQueue, entry: Uint32Array): void {
  writeRawEntry(queue.ring.words, queue.ring.slot, entry);
  queue.ring.post();
}

/** Takes the next completion, without its doorbell. @returns undefined if there is none in time */
export async function take(
  { ring }: RawCompletionQueue,
  limitMs = LIMIT_MS,
): Promise<Completion | undefined> {
  if (!(await until(() => ring.peek() >= 0, limitMs))) return undefined;
  const at = ring.peek();
  const [dw0 = 0, , dw2 = 0, dw3 = 0] = ring.words.subarray(at, at + 4);
  ring.take();
  return { dw0, sqHead: dw2 & 0xffff, sqid: dw2 >>> 16, cid: dw3 & 0xffff, status: (dw3 >>> 17) & 0x7ff };
}

/** Submits one command and waits for its completion. */
export async function send(queue: RawSubmissionQueue, entry: Entry): Promise<Completion> {
  post(queue, entryOf(entry));
  queue.ringDoorbell();
  const completion = await take(queue.completionQueue);
  if (completion === undefined) throw new Error(`no completion of opcode 0x${entry.opcode.toString(16)}`);
  queue.completionQueue.ringDoorbell();
  return completion;
}

/** The same for a command that must succeed. */
export async function expectSuccess(queue: RawSubmissionQueue, entry: Entry): Promise<Completion> {
  const completion = await send(queue, entry);
  if (completion.status === 0) return completion;
  throw new Error(`opcode 0x${entry.opcode.toString(16)}: status 0x${completion.status.toString(16)}`);
}
