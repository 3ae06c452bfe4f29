/** Features whose value is a data structure. */
import { checkInteger, checkList, checkObject, checkU64, show } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { type Bits, decodeBits, encodeBits } from "../spec/capabilities.js";
import { fdpSupportedEvent } from "../spec/fdp.js";
import {
  FdpMode,
  type HostBehavior,
  hostBehavior,
  type LbaRange,
  lbaRangeTypes,
  type PowerTransition,
  type PredictableLatencyConfig,
  powerTransitions,
  predictableLatencyConfig,
} from "../spec/features.js";
import { FeatureId } from "../spec/opcodes.js";
import type { FeatureSource, GetFeatureOptions } from "./feature-source.js";

type Select = Pick<GetFeatureOptions, "select">;
interface Save {
  /** Saves the value over resets and power cycles (SV). */
  readonly save?: boolean | undefined;
}

const MOST_RANGES = 64;
const POWER_STATES = 32;
const ENABLED = 1;
/** Host Identifier of 128 bits. */
const EXTENDED_HOST_ID = 1;
const MOST_EVENT_TYPES = 255;

/** Features whose value is a data structure. See {@link NvmeFeatures.structures}. */
export class NvmeFeatureStructures {
  constructor(private readonly features: FeatureSource) {}

  /** LBA Range Type: the purposes of a namespace's ranges. @throws as NvmeFeatures.get() */
  async lbaRanges(nsid: number, options: Select = {}): Promise<readonly LbaRange[]> {
    const { value, data } = await this.features.get(FeatureId.lbaRangeType, {
      ...options,
      nsid,
      sizeBytes: lbaRangeTypes.sizeBytes,
    });
    return lbaRangeTypes.decode(data).entry.slice(0, (value & 0x3f) + 1);
  }

  /** Sets LBA Range Type. @param ranges 1 to 64 @throws ArgumentError, and as NvmeFeatures.set() */
  async setLbaRanges(nsid: number, ranges: readonly LbaRange[], options: Save = {}): Promise<void> {
    checkList("ranges", ranges, 1, MOST_RANGES);
    const data = lbaRangeTypes.encode({ entry: [...ranges] });
    await this.features.set(FeatureId.lbaRangeType, ranges.length - 1, { ...options, nsid, data });
  }

  /** Autonomous Power State Transition. @throws as NvmeFeatures.get() */
  async powerTransitions(options: Select = {}): Promise<{
    /** Whether the transitions are enabled. */
    readonly enabled: boolean;
    /** For each power state, the state to enter and the idle time before. */
    readonly transitions: readonly PowerTransition[];
  }> {
    const { value, data } = await this.features.get(FeatureId.autonomousPowerStateTransition, {
      ...options,
      sizeBytes: powerTransitions.sizeBytes,
    });
    return { enabled: (value & ENABLED) !== 0, transitions: powerTransitions.decode(data).entry };
  }

  /** Sets Autonomous Power State Transition. @param transitions by power state, at most 32 @throws ArgumentError, and as NvmeFeatures.set() */
  async setPowerTransitions(
    enabled: boolean,
    transitions: readonly PowerTransition[],
    options: Save = {},
  ): Promise<void> {
    checkList("transitions", transitions, 0, POWER_STATES);
    const data = powerTransitions.encode({ entry: [...transitions] });
    const fid = FeatureId.autonomousPowerStateTransition;
    await this.features.set(fid, enabled ? ENABLED : 0, { ...options, data });
  }

  /** Host Behavior Support. @throws as NvmeFeatures.get() */
  async hostBehavior(options: Select = {}): Promise<HostBehavior> {
    const { data } = await this.features.get(FeatureId.hostBehaviorSupport, {
      ...options,
      sizeBytes: hostBehavior.sizeBytes,
    });
    return hostBehavior.decode(data);
  }

  /** Sets Host Behavior Support. Fields left out are 0. @throws ArgumentError, and as NvmeFeatures.set() */
  async setHostBehavior(values: Partial<HostBehavior>): Promise<void> {
    checkObject("values", values);
    await this.features.set(FeatureId.hostBehaviorSupport, 0, { data: hostBehavior.encode(values) });
  }

  /** Host Identifier: identifies this host for reservations. @param bits 64 or 128 @throws as NvmeFeatures.get() */
  async hostIdentifier(bits: 64 | 128 = 64, options: Select = {}): Promise<bigint> {
    const extended = checkBits(bits);
    const { data } = await this.features.get(FeatureId.hostIdentifier, {
      ...options,
      cdw11: extended,
      sizeBytes: bits / 8,
    });
    return data.reduceRight((whole, byte) => (whole << 8n) | BigInt(byte), 0n);
  }

  /** Sets the Host Identifier. @throws ArgumentError, and as NvmeFeatures.set() */
  async setHostIdentifier(id: bigint, bits: 64 | 128 = 64, options: Save = {}): Promise<void> {
    const extended = checkBits(bits);
    const data = new Uint8Array(bits / 8);
    const view = new DataView(data.buffer);
    if (bits === 64) checkU64("id", id);
    else if (typeof id !== "bigint" || id < 0n || id >= 1n << 128n)
      throw new ArgumentError(`id must fit 128 bits, got ${show(id)}`);
    view.setBigUint64(0, id & 0xffff_ffff_ffff_ffffn, true);
    if (bits === 128) view.setBigUint64(8, id >> 64n, true);
    await this.features.set(FeatureId.hostIdentifier, extended, { ...options, data });
  }

  /** Read Recovery Level of an NVM set, 0 to 15. @throws as NvmeFeatures.get() */
  async readRecoveryLevel(nvmsetid: number, options: Select = {}): Promise<number> {
    checkInteger("nvmsetid", nvmsetid, 0, 0xffff);
    const fid = FeatureId.readRecoveryLevel;
    return (await this.features.get(fid, { ...options, cdw11: nvmsetid })).value & 0xff;
  }

  /** Sets the Read Recovery Level of an NVM set. @throws ArgumentError, and as NvmeFeatures.set() */
  async setReadRecoveryLevel(nvmsetid: number, level: number, options: Save = {}): Promise<void> {
    checkInteger("nvmsetid", nvmsetid, 0, 0xffff);
    checkInteger("level", level, 0, 0xf);
    await this.features.set(FeatureId.readRecoveryLevel, nvmsetid, { ...options, cdw12: level });
  }

  /** Predictable Latency Mode Config of an NVM set. @throws as NvmeFeatures.get() */
  async predictableLatency(
    nvmsetid: number,
    options: Select = {},
  ): Promise<{
    /** Whether predictable latency mode is enabled. */
    readonly enabled: boolean;
    /** Thresholds of its events. */
    readonly config: PredictableLatencyConfig;
  }> {
    checkInteger("nvmsetid", nvmsetid, 0, 0xffff);
    const { value, data } = await this.features.get(FeatureId.predictableLatencyModeConfig, {
      ...options,
      cdw11: nvmsetid,
      sizeBytes: predictableLatencyConfig.sizeBytes,
    });
    return { enabled: (value & ENABLED) !== 0, config: predictableLatencyConfig.decode(data) };
  }

  /** Sets Predictable Latency Mode Config. Fields left out are 0. @throws ArgumentError, and as NvmeFeatures.set() */
  async setPredictableLatency(
    nvmsetid: number,
    enabled: boolean,
    config: Partial<PredictableLatencyConfig>,
    options: Save = {},
  ): Promise<void> {
    checkInteger("nvmsetid", nvmsetid, 0, 0xffff);
    await this.features.set(FeatureId.predictableLatencyModeConfig, nvmsetid, {
      ...options,
      cdw12: enabled ? ENABLED : 0,
      data: predictableLatencyConfig.encode(config),
    });
  }

  /** Predictable Latency Mode Window of an NVM set: 1 deterministic, 2 non-deterministic. @throws as NvmeFeatures.get() */
  async predictableLatencyWindow(nvmsetid: number, options: Select = {}): Promise<number> {
    checkInteger("nvmsetid", nvmsetid, 0, 0xffff);
    const fid = FeatureId.predictableLatencyModeWindow;
    return (await this.features.get(fid, { ...options, cdw11: nvmsetid })).value & 7;
  }

  /** Selects the window of an NVM set. @throws ArgumentError, and as NvmeFeatures.set() */
  async setPredictableLatencyWindow(nvmsetid: number, window: 1 | 2): Promise<void> {
    checkInteger("nvmsetid", nvmsetid, 0, 0xffff);
    checkInteger("window", window, 1, 2);
    await this.features.set(FeatureId.predictableLatencyModeWindow, nvmsetid, { cdw12: window });
  }

  /** Flexible Data Placement of an endurance group: whether it is enabled, and its configuration. @throws as NvmeFeatures.get() */
  async flexibleDataPlacement(endgid: number, options: Select = {}): Promise<Bits<typeof FdpMode>> {
    checkInteger("endgid", endgid, 0, 0xffff);
    const fid = FeatureId.flexibleDataPlacement;
    return decodeBits((await this.features.get(fid, { ...options, cdw11: endgid })).value, FdpMode);
  }

  /** Sets Flexible Data Placement of an endurance group. Only while it has no namespaces. @throws ArgumentError, and as NvmeFeatures.set() */
  async setFlexibleDataPlacement(
    endgid: number,
    mode: Partial<Bits<typeof FdpMode>>,
    options: Save = {},
  ): Promise<void> {
    checkInteger("endgid", endgid, 0, 0xffff);
    const cdw12 = encodeBits(FdpMode, mode);
    await this.features.set(FeatureId.flexibleDataPlacement, endgid, { ...options, cdw12 });
  }

  /** FDP events of a placement handle: the supported types, and whether each is recorded. @throws as NvmeFeatures.get() */
  async fdpEvents(nsid: number, placementHandle: number): Promise<ReadonlyMap<number, boolean>> {
    checkInteger("placementHandle", placementHandle, 0, 0xffff);
    const { value, data } = await this.features.get(FeatureId.flexibleDataPlacementEvents, {
      nsid,
      cdw11: placementHandle | (MOST_EVENT_TYPES << 16),
      sizeBytes: MOST_EVENT_TYPES * fdpSupportedEvent.sizeBytes + fdpSupportedEvent.sizeBytes,
    });
    return new Map(
      Array.from({ length: value & 0xff }, (_, i) => {
        const { type, enabled } = fdpSupportedEvent.decode(data.subarray(i * fdpSupportedEvent.sizeBytes));
        return [type, enabled === 1];
      }),
    );
  }

  /** Enables or disables the recording of these types of events. @throws ArgumentError, and as NvmeFeatures.set() */
  async setFdpEvents(
    nsid: number,
    placementHandle: number,
    types: readonly number[],
    enabled: boolean,
    options: Save = {},
  ): Promise<void> {
    checkInteger("placementHandle", placementHandle, 0, 0xffff);
    checkList("types", types, 1, MOST_EVENT_TYPES);
    for (const type of types) checkInteger("type", type, 0, 0xff);
    // The length must be whole dwords.
    const data = new Uint8Array(Math.ceil(types.length / 4) * 4);
    data.set(types);
    const cdw11 = placementHandle | (types.length << 16);
    const cdw12 = enabled ? ENABLED : 0;
    await this.features.set(FeatureId.flexibleDataPlacementEvents, cdw11, { ...options, nsid, cdw12, data });
  }
}

function checkBits(bits: number): number {
  if (bits !== 64 && bits !== 128) throw new ArgumentError(`bits must be 64 or 128, got ${show(bits)}`);
  return bits === 128 ? EXTENDED_HOST_ID : 0;
}
