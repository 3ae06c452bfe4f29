/** Get Features and Set Features. */
import {
  checkBytes,
  checkInteger,
  checkKeys,
  checkObject,
  checkU32,
  lookUp,
  show,
} from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { type AdminTarget, adminRead, adminWrite } from "../command/admin-target.js";
import type { NvmeCompletion } from "../command/command.js";
import { type Bits, type BitTable, decodeBits, encodeBits } from "../spec/capabilities.js";
import { type DwordFeature, FeatureCapabilities, SAVE_FEATURE, TIMESTAMP_BYTES } from "../spec/features.js";
import { AdminOpcode, FeatureId, FeatureSelect } from "../spec/opcodes.js";
import { assertFeature } from "./feature-quirks.js";
import type { FeatureSource, GetFeatureOptions, SetFeatureOptions } from "./feature-source.js";
import { NvmeFeatureStructures } from "./feature-structures.js";

/** Unit of the time of interrupt coalescing. */
const COALESCING_UNIT_US = 100;

/** Features of a controller (NVMe Base 2.x, section "Features"). See {@link NvmeController.features}. */
export class NvmeFeatures implements FeatureSource {
  constructor(private readonly target: AdminTarget) {}

  /**
   * Get Features.
   * @param fid feature identifier
   * @throws ArgumentError, NvmeError, TimeoutError, DeviceGoneError, ClosedError
   */
  async get(
    fid: number,
    options: GetFeatureOptions = {},
  ): Promise<{
    /** DW0 of the completion. */
    readonly value: number;
    /** The feature's data structure; empty without one. */
    readonly data: Uint8Array;
  }> {
    checkInteger("fid", fid, 0, 0xff);
    checkKeys("options", options, ["nsid", "select", "cdw11", "uuidIndex", "sizeBytes"]);
    assertFeature(this.target, fid, "get", checkU32("cdw11", options.cdw11 ?? 0));
    const { nsid = 0, select = "current", cdw11 = 0, uuidIndex = 0, sizeBytes = 0 } = options;
    const sel = lookUp("select", select, FeatureSelect);
    const command = {
      name: `Get Features (FID 0x${fid.toString(16).padStart(2, "0")})`,
      opcode: AdminOpcode.getFeatures,
      nsid: checkU32("nsid", nsid),
      cdw10: fid | (sel << 8),
      cdw11: checkU32("cdw11", cdw11),
      cdw14: checkInteger("uuidIndex", uuidIndex, 0, 0x7f),
    };
    if (sizeBytes === 0) {
      const { dw0 } = await this.target.admin(command);
      return { value: dw0, data: new Uint8Array(0) };
    }
    checkInteger("sizeBytes", sizeBytes, 0, 4096);
    const { bytes, completion } = await adminRead(this.target, command, sizeBytes);
    return { value: completion.dw0, data: bytes };
  }

  /**
   * Set Features.
   * @param value CDW11
   * @throws as get()
   */
  async set(fid: number, value: number, options: SetFeatureOptions = {}): Promise<NvmeCompletion> {
    checkInteger("fid", fid, 0, 0xff);
    checkU32("value", value);
    checkKeys("options", options, ["nsid", "save", "cdw12", "cdw13", "cdw14", "cdw15", "data"]);
    if (options.data !== undefined) checkBytes("data", options.data);
    assertFeature(this.target, fid, "set", value, options.data);
    const { nsid = 0, save = false, cdw12 = 0, cdw13 = 0, cdw14 = 0, cdw15 = 0, data } = options;
    const command = {
      name: `Set Features (FID 0x${fid.toString(16).padStart(2, "0")})`,
      opcode: AdminOpcode.setFeatures,
      nsid: checkU32("nsid", nsid),
      cdw10: fid + (save ? SAVE_FEATURE : 0),
      cdw11: value,
      cdw12: checkU32("cdw12", cdw12),
      cdw13: checkU32("cdw13", cdw13),
      cdw14: checkU32("cdw14", cdw14),
      cdw15: checkU32("cdw15", cdw15),
    };
    if (data === undefined) return await this.target.admin(command);
    checkInteger("data.length", data.length, 1, 4096);
    return await adminWrite(this.target, command, data);
  }

  /**
   * Reads a feature of {@link Feature} and splits it into its fields: `features.read(Feature.arbitration)`.
   * @param options cdw11: selects the sensor, vector or group, for a feature that has several; see {@link encodeBits}
   * @throws as get()
   */
  async read<T extends BitTable>(
    feature: DwordFeature<T>,
    options: Omit<GetFeatureOptions, "sizeBytes"> = {},
  ): Promise<Bits<T>> {
    checkObject("feature", feature);
    checkObject("feature.table", feature.table);
    checkKeys("options", options, ["nsid", "select", "cdw11", "uuidIndex"]);
    const { value } = await this.get(feature.fid, options);
    return decodeBits(value, feature.table);
  }

  /** Sets a feature of {@link Feature}. Fields left out are 0. @throws as set() */
  async write<T extends BitTable>(
    feature: DwordFeature<T>,
    values: Partial<Bits<T>>,
    options: Pick<SetFeatureOptions, "nsid" | "save"> = {},
  ): Promise<NvmeCompletion> {
    checkObject("feature", feature);
    checkKeys("options", options, ["nsid", "save"]);
    return await this.set(feature.fid, encodeBits(feature.table, values), options);
  }

  /** Whether a feature can be saved, changed, and set for one namespace. @throws as get() */
  async capabilities(fid: number, nsid = 0): Promise<Bits<typeof FeatureCapabilities>> {
    const { value } = await this.get(fid, { nsid, select: "supported" });
    return decodeBits(value, FeatureCapabilities);
  }

  /** Features whose value is a data structure: power state transitions, LBA ranges, host behavior, ... */
  get structures(): NvmeFeatureStructures {
    return new NvmeFeatureStructures(this);
  }

  /** Whether writes may stay in a volatile cache until a flush. @throws as get(); NvmeError if there is no cache */
  async volatileWriteCache(): Promise<boolean> {
    return ((await this.get(FeatureId.volatileWriteCache)).value & 1) === 1;
  }

  /** Enables or disables the volatile write cache. @throws as set() */
  async setVolatileWriteCache(enabled: boolean): Promise<void> {
    await this.set(FeatureId.volatileWriteCache, enabled ? 1 : 0);
  }

  /** Composite temperature at which the controller warns, in kelvin. @throws as get() */
  async temperatureThreshold(): Promise<number> {
    return (await this.get(FeatureId.temperatureThreshold)).value & 0xffff;
  }

  /** Sets the temperature at which the controller warns. @param kelvin composite temperature @throws as set() */
  async setTemperatureThreshold(kelvin: number): Promise<void> {
    await this.set(FeatureId.temperatureThreshold, checkInteger("kelvin", kelvin, 0, 0xffff));
  }

  /**
   * Interrupt coalescing: an interrupt waits until this many completions are posted, or this time has passed. Zeros: off.
   * @throws as get()
   */
  async interruptCoalescing(): Promise<{
    /** Completions per interrupt, 1 to 256; 0: off. */
    readonly completions: number;
    /** Longest delay of an interrupt, in microseconds; 0: off. */
    readonly timeUs: number;
  }> {
    const { value } = await this.get(FeatureId.interruptCoalescing);
    const threshold = value & 0xff;
    const time = (value >>> 8) & 0xff;
    return { completions: time === 0 ? 0 : threshold + 1, timeUs: time * COALESCING_UNIT_US };
  }

  /**
   * Sets interrupt coalescing.
   * @param completions 1 to 256; 0 with `timeUs` 0 turns it off
   * @param timeUs at most 25,500, rounded up to a multiple of 100
   * @throws as set()
   */
  async setInterruptCoalescing(completions: number, timeUs: number): Promise<void> {
    checkInteger("completions", completions, 0, 256);
    checkInteger("timeUs", timeUs, 0, 0xff * COALESCING_UNIT_US);
    const time = Math.ceil(timeUs / COALESCING_UNIT_US);
    const threshold = Math.max(0, completions - 1);
    await this.set(FeatureId.interruptCoalescing, threshold | (time << 8));
  }

  /** The controller's time (Timestamp feature). @throws as get(); NvmeError if it doesn't have the feature */
  async timestamp(): Promise<Date> {
    const { data } = await this.get(FeatureId.timestamp, { sizeBytes: TIMESTAMP_BYTES });
    const view = new DataView(data.buffer, data.byteOffset);
    // 48 bits of milliseconds.
    return new Date(view.getUint32(0, true) + view.getUint16(4, true) * 2 ** 32);
  }

  /** Sets the controller's time. @throws ArgumentError, and as set() */
  async setTimestamp(time: Date): Promise<void> {
    if (!(time instanceof Date)) throw new ArgumentError(`time must be a Date, got ${show(time)}`);
    const milliseconds = checkInteger("time", time.getTime(), 0, 2 ** 48 - 1);
    const data = new Uint8Array(TIMESTAMP_BYTES);
    const view = new DataView(data.buffer);
    view.setUint32(0, milliseconds % 2 ** 32, true);
    view.setUint16(4, Math.floor(milliseconds / 2 ** 32), true);
    await this.set(FeatureId.timestamp, 0, { data });
  }

  /** How many I/O queues the controller allocated. @throws as get() */
  async numberOfQueues(): Promise<{
    /** Number of I/O submission queues. */
    readonly submission: number;
    /** Number of I/O completion queues. */
    readonly completion: number;
  }> {
    const { value } = await this.get(FeatureId.numberOfQueues);
    return { submission: (value & 0xffff) + 1, completion: (value >>> 16) + 1 };
  }
}
