/** Device self-tests. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { integer } from "../../../core/options.js";
import {
  SelfTestCode,
  type SelfTestEntry,
  SelfTestResult,
  selfTestLog,
  selfTestResult,
} from "../../../nvme/spec/log-pages.js";
import { AdminOpcode, BROADCAST_NSID, LogPageId } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import { type Inventory, MAX_NAMESPACES } from "../medium/inventory.js";
import type { Medium } from "../medium/medium.js";
import type { EmulatedNamespace } from "../medium/namespace.js";
import { SELF_TEST_RESULTS } from "../medium/persistent-state.js";
import { fraction, u32 } from "../medium/state-schema.js";
import { type AdminService, type NamespaceChange, savedPart } from "./admin-service.js";
import { BackgroundWork } from "./background-work.js";

/** The part of a migration state that holds a self-test in progress. */
const selfTestState = lazily(() =>
  z.nullable(z.strictObject({ code: integer(1, 2), nsid: u32(), fails: z.boolean(), done: fraction() })),
);
type SelfTestState = z.output<ReturnType<typeof selfTestState>>;

/** Segments of a test, as the log numbers them. */
const Segment = { record: 1, medium: 2, defects: 3 } as const;
/** Bits of an entry's `valid`: what of the failure is known. */
const Valid = { nsid: 1, failingLba: 2, statusCodeType: 4, statusCode: 8 } as const;
/** Blocks of a namespace that a test reads. */
const SAMPLES: Readonly<Record<number, number>> = { [SelfTestCode.short]: 2, [SelfTestCode.extended]: 256 };

/** A test that runs. */
interface Run {
  readonly code: number;
  readonly nsid: number;
  /** An injected fault makes it fail. */
  readonly fails: boolean;
}

interface Failure {
  readonly segment: number;
  readonly nsid?: number;
  readonly failingLba?: bigint;
}

/** What a self-test needs of its controller. */
export interface SelfTestContext {
  readonly command: Command;
  readonly inventory: Inventory;
  readonly medium: Medium;
  readonly shortMs: number;
  readonly extendedMs: number;
  /** How long there has been power. */
  poweredHours(): number;
  /** A test failed. */
  failed(): void;
}

/**
 * Device Self-test. A test takes the time that the options say. At its end it checks the record of namespaces and reads
 * samples of the medium; the extended test also looks for blocks that Write Uncorrectable has marked.
 */
export class SelfTest implements AdminService {
  readonly commands = {
    [AdminOpcode.deviceSelfTest]: { execute: () => this.execute(), lockable: true },
  };
  readonly logPages = { [LogPageId.deviceSelfTest]: { page: () => this.page() } };
  readonly saved = savedPart(
    "selfTest",
    selfTestState,
    () => this.save(),
    (saved) => this.load(saved),
  );
  private run: Run | undefined;
  /** Is paused and ended with the controller. */
  readonly work: BackgroundWork;

  constructor(private readonly context: SelfTestContext) {
    this.work = new BackgroundWork({ advance: (upTo) => upTo, finished: () => this.finish() });
  }

  private execute(): number {
    const { command, inventory, shortMs, extendedMs } = this.context;
    const { nsid } = command;
    const code = command.cdw(10) & 0xf;
    if (code === SelfTestCode.abort) {
      this.abort(SelfTestResult.aborted);
      return NvmeStatus.success;
    }
    if (code !== SelfTestCode.short && code !== SelfTestCode.extended) return NvmeStatus.invalidField;
    if (nsid !== 0 && nsid !== BROADCAST_NSID) {
      if (nsid > MAX_NAMESPACES) return NvmeStatus.invalidNamespace;
      if (inventory.get(nsid)?.attached !== true) return NvmeStatus.invalidField;
    }
    if (this.run !== undefined) return NvmeStatus.deviceSelfTestInProgress;
    this.run = { code, nsid, fails: command.failsLater };
    this.work.start(code === SelfTestCode.short ? shortMs : extendedMs);
    return NvmeStatus.success;
  }

  /** The log page. */
  private page(): Uint8Array {
    const { run } = this;
    const results = this.context.inventory.persistent.selfTests.map((hex) =>
      selfTestResult.decode(Buffer.from(hex, "hex")),
    );
    while (results.length < SELF_TEST_RESULTS) results.push(unused);
    return selfTestLog.encode({
      currentOperation: run?.code ?? 0,
      completionPercent: run === undefined ? 0 : Math.min(99, Math.floor(this.work.due * 100)),
      results,
    });
  }

  /** Ends a test that runs. @param result why */
  abort(result: number): void {
    if (this.run === undefined) return;
    this.work.stop();
    this.record(this.run, { result });
  }

  /** Tests that look at a namespace end when it is formatted or removed. */
  namespaceChanged(nsid: number, change: NamespaceChange): void {
    if (change === "attached") return;
    const { abortedByFormat, abortedByNamespaceRemoval } = SelfTestResult;
    if (this.run?.nsid !== nsid && this.run?.nsid !== BROADCAST_NSID) return;
    this.abort(change === "formatted" ? abortedByFormat : abortedByNamespaceRemoval);
  }

  /** A short test ends with a reset, an extended one goes on. */
  reset(): void {
    if (this.run?.code === SelfTestCode.short) this.abort(SelfTestResult.abortedByReset);
  }

  private save(): SelfTestState {
    const { run } = this;
    return run === undefined ? null : { ...run, done: this.work.due };
  }

  private load(saved: SelfTestState): void {
    this.work.stop();
    this.run = undefined;
    if (saved === null) return;
    const { done, ...run } = saved;
    this.run = run;
    this.work.start(run.code === SelfTestCode.short ? this.context.shortMs : this.context.extendedMs, done);
  }

  private finish(): void {
    const { run } = this;
    if (run === undefined) return;
    const failure = run.fails ? { segment: Segment.record } : this.look(run);
    if (failure === undefined) {
      this.record(run, { result: SelfTestResult.success });
      return;
    }
    const { segment, nsid, failingLba } = failure;
    this.record(run, {
      result: SelfTestResult.segmentsFailed,
      segment,
      valid:
        (nsid === undefined ? 0 : Valid.nsid) |
        (failingLba === undefined ? 0 : Valid.failingLba | Valid.statusCodeType | Valid.statusCode),
      nsid: nsid ?? 0,
      failingLba: failingLba ?? 0n,
      statusCodeType: failingLba === undefined ? 0 : NvmeStatus.unrecoveredReadError >>> 8,
      statusCode: failingLba === undefined ? 0 : NvmeStatus.unrecoveredReadError & 0xff,
    });
    this.context.failed();
  }

  /** @returns what is wrong, if anything */
  private look({ code, nsid }: Run): Failure | undefined {
    const { inventory } = this.context;
    if (inventory.isStale) return { segment: Segment.record };
    const namespaces = inventory.all.filter(
      (one) => one.attached && (nsid === BROADCAST_NSID || nsid === one.nsid),
    );
    for (const namespace of namespaces) {
      const unreadable = this.firstUnreadable(namespace, SAMPLES[code] ?? 1);
      if (unreadable !== undefined) {
        return { segment: Segment.medium, nsid: namespace.nsid, failingLba: BigInt(unreadable) };
      }
      const defect = namespace.uncorrectable.first();
      if (code === SelfTestCode.extended && defect !== undefined) {
        return { segment: Segment.defects, nsid: namespace.nsid, failingLba: BigInt(defect) };
      }
    }
    return undefined;
  }

  private firstUnreadable(namespace: EmulatedNamespace, samples: number): number | undefined {
    const { sizeBlocks, blockBytes, dataAt } = namespace;
    const block = new Uint8Array(blockBytes);
    for (let i = 0; i < samples; i++) {
      const lba = Math.floor(((sizeBlocks - 1) * i) / (samples - 1));
      if (!this.context.medium.read(dataAt + lba * blockBytes, block, 0, blockBytes)) return lba;
    }
    return undefined;
  }

  private record({ code }: Run, entry: Partial<SelfTestEntry>): void {
    const { inventory, poweredHours } = this.context;
    this.run = undefined;
    const bytes = selfTestResult.encode({ ...entry, code, powerOnHours: BigInt(poweredHours()) });
    const latest = Buffer.from(bytes).toString("hex");
    inventory.persist({ selfTests: [latest, ...inventory.persistent.selfTests].slice(0, SELF_TEST_RESULTS) });
  }
}

const unused = selfTestResult.decode(selfTestResult.encode({ result: SelfTestResult.unused }));
