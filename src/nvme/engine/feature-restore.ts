/** Remembers features that a reset undoes, and sets them again after it. */
import { addAbortListener } from "../../core/listeners.js";
import type { CommandData, NvmeCommand, NvmeCompletion } from "../command/command.js";
import { dataBytes, isBitBucket, isDataList, rangeBytes } from "../command/data-ranges.js";
import { NvmeError } from "../command/error.js";
import { FID_MASK, HostMemoryFlag, SAVE_FEATURE, TIMESTAMP_BYTES } from "../spec/features.js";
import { AdminOpcode, FeatureId } from "../spec/opcodes.js";

/** CDW14: index in the UUID list. */
const UUID_INDEX_MASK = 0x7f;
/** CDW11 of Host Memory Buffer; MR: the same memory with the same contents is given back after a reset. */
/** Bytes of a timestamp's milliseconds, and of its whole structure. */
const MILLISECONDS_BYTES = 6;

/** CDW11 of features with several instances: the bits that select one. */
const instanceBits = new Map<number, number>([
  // Sensor and type.
  [FeatureId.temperatureThreshold, 0x3f_0000],
  [FeatureId.interruptVectorConfiguration, 0xffff],
  [FeatureId.readRecoveryLevel, 0xffff],
  [FeatureId.predictableLatencyModeConfig, 0xffff],
  [FeatureId.enduranceGroupEventConfig, 0xffff],
]);

/**
 * Features that aren't restored. Some survive every reset, and setting them again fails or has an effect of its own: write
 * protection, flexible data placement, the pre-boot counter, the window of an NVM set. IoQueues sets the number of queues.
 */
const leftAlone: ReadonlySet<number> = new Set([
  FeatureId.numberOfQueues,
  FeatureId.predictableLatencyModeWindow,
  FeatureId.flexibleDataPlacement,
  FeatureId.softwareProgressMarker,
  FeatureId.namespaceWriteProtection,
  FeatureId.bootPartitionWriteProtection,
  // These start something.
  FeatureId.controllerDataQueue,
  FeatureId.devicePersonality,
  FeatureId.powerMeasurement,
  FeatureId.voltageMeasurement,
]);

/** Features that the specification defines. Another one may trigger an action. */
const known: ReadonlySet<number> = new Set(Object.values(FeatureId));

/** A feature that the program set, as {@link NvmeLifecycleEvents.featureLost} reports it. */
export interface SetFeature {
  /** Feature identifier. */
  readonly fid: number;
  /** Namespace; 0 for a feature of the controller. */
  readonly nsid: number;
  /** CDW11. */
  readonly value: number;
}

/** One of them, and how it is set. */
interface Kept {
  readonly command: Omit<NvmeCommand, "data">;
  readonly data: Uint8Array | undefined;
  /** When the controller took it (performance.now()). */
  readonly at: number;
}

/** Sets a feature at the controller. */
export type SetsFeature = (
  command: Omit<NvmeCommand, "data">,
  data: Uint8Array | undefined,
) => Promise<unknown>;

/**
 * The features that a program has set and that a reset makes a controller forget, by identifier, namespace and whatever
 * else says which one it is. They are set again in the order in which they were set last, so that what was set for all
 * sensors or namespaces comes before what was then set for one of them.
 */
export class KeptFeatures {
  private readonly kept = new Map<string, Kept>();
  /** Set Features commands of the program that have not completed. */
  private readonly underWay = new Set<Promise<void>>();

  /** An admin command of the program was submitted. */
  watch(sent: NvmeCommand, completion: Promise<NvmeCompletion>): void {
    if (sent.opcode !== AdminOpcode.setFeatures) return;
    const fid = (sent.cdw10 ?? 0) & FID_MASK;
    if (!known.has(fid) || leftAlone.has(fid)) return;
    // The program may reuse the command and its buffer when it has completed.
    const command = { ...sent };
    const bytes = sent.data === undefined ? undefined : copyOf(sent.data);
    const done = completion
      .then(
        () => this.took(command, bytes),
        // The sender handles the error.
        () => {},
      )
      .finally(() => this.underWay.delete(done));
    this.underWay.add(done);
  }

  /** This command gave host memory to the controller. The memory stays until the program takes it back. */
  hostMemoryGiven(command: NvmeCommand): void {
    this.keep({ ...command, cdw11: HostMemoryFlag.enable | HostMemoryFlag.memoryReturn }, undefined);
  }

  /**
   * Sets the features again after a reset. Forgets those that the controller rejects.
   * @param which vectors: features of completion queues' vectors; others: all other features
   * @param since when the controller restarted (performance.now())
   * @param refused called for each rejected feature
   * @param signal ends the restore
   * @throws what `set` throws besides NvmeError; the signal's reason
   */
  async restore(
    which: "vectors" | "others",
    since: number,
    set: SetsFeature,
    refused: (feature: SetFeature, error: NvmeError) => void,
    signal: AbortSignal,
  ): Promise<void> {
    // Set Features commands of the program that are under way are newer.
    await unlessAborted(Promise.all(this.underWay), signal);
    for (const [key, kept] of [...this.kept]) {
      const { command, data, at } = kept;
      const fid = (command.cdw10 ?? 0) & FID_MASK;
      const ofVectors = fid === FeatureId.interruptVectorConfiguration;
      if (ofVectors !== (which === "vectors") || this.kept.get(key) !== kept) continue;
      // The controller has its memory already, and rejects another one.
      if (fid === FeatureId.hostMemoryBuffer && at >= since) continue;
      try {
        await set(command, fid === FeatureId.timestamp ? later(data, performance.now() - at) : data);
      } catch (error) {
        if (!(error instanceof NvmeError)) throw error;
        if (this.kept.get(key) === kept) this.kept.delete(key);
        refused({ fid, nsid: command.nsid ?? 0, value: command.cdw11 ?? 0 }, error);
      }
    }
  }

  private took(command: NvmeCommand, bytes: Uint8Array | undefined): void {
    // The controller keeps a saved value itself. It replaces the earlier value.
    const { cdw10 = 0, cdw11 = 0 } = command;
    if ((cdw10 & FID_MASK) === FeatureId.hostMemoryBuffer) {
      // The lifetime of memory that the program gave with its own command is unknown, so it isn't restored.
      if ((cdw11 & HostMemoryFlag.enable) === 0) this.kept.delete(keyOf(command, undefined));
    } else if (cdw10 >= SAVE_FEATURE) this.kept.delete(keyOf(command, bytes));
    else this.keep(command, bytes);
  }

  private keep(command: NvmeCommand, bytes: Uint8Array | undefined): void {
    const key = keyOf(command, bytes);
    const { data: _, ...rest } = command;
    // Moves the feature to the end.
    this.kept.delete(key);
    this.kept.set(key, { command: rest, data: bytes, at: performance.now() });
  }
}

/** Key of a feature: a later Set Features with the same key replaces it. */
function keyOf(
  command: Pick<NvmeCommand, "cdw10" | "cdw11" | "cdw14" | "nsid">,
  bytes: Uint8Array | undefined,
): string {
  const { cdw10 = 0, cdw11 = 0, cdw14 = 0, nsid = 0 } = command;
  const fid = cdw10 & FID_MASK;
  if (fid === FeatureId.flexibleDataPlacementEvents) {
    // Each command enables or disables some event types, and leaves the others unchanged.
    return [fid, nsid, cdw11, Buffer.from(bytes ?? []).toString("hex")].join(" ");
  }
  return [fid, nsid, cdw11 & (instanceBits.get(fid) ?? 0), cdw14 & UUID_INDEX_MASK].join(" ");
}

/** @throws the signal's reason */
async function unlessAborted(work: Promise<unknown>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  let stop = (): void => {};
  const aborted = new Promise<void>((resolve) => {
    stop = resolve;
  });
  addAbortListener(signal, stop);
  await Promise.race([work, aborted]);
  signal.removeEventListener("abort", stop);
  signal.throwIfAborted();
}

function copyOf(data: CommandData): Uint8Array {
  const copy = new Uint8Array(dataBytes(data));
  let at = 0;
  for (const part of isDataList(data) ? data : [data]) {
    if (isBitBucket(part)) continue;
    const { buffer, offset = 0 } = part;
    const length = rangeBytes(part);
    copy.set(buffer.bytes.subarray(offset, offset + length), at);
    at += length;
  }
  return copy;
}

/** Advances a timestamp: its first 48 bits are milliseconds. */
function later(data: Uint8Array | undefined, elapsedMs: number): Uint8Array | undefined {
  if (data === undefined || data.length < TIMESTAMP_BYTES) return data;
  const moved = Buffer.from(data);
  const now = moved.readUIntLE(0, MILLISECONDS_BYTES) + Math.round(elapsedMs);
  moved.writeUIntLE(now % 2 ** 48, 0, MILLISECONDS_BYTES);
  return moved;
}
