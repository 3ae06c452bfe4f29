/** VFIO_USER_DEVICE_FEATURE on the server: migration and DMA logging. */
import { Errno } from "../../core/errno.js";
import {
  VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
  VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
  VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP,
  VFIO_DEVICE_FEATURE_GET,
  VFIO_DEVICE_FEATURE_MASK,
  VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
  VFIO_DEVICE_FEATURE_MIGRATION,
  VFIO_DEVICE_FEATURE_PROBE,
  VFIO_DEVICE_FEATURE_SET,
  VFIO_MIGRATION_STOP_COPY,
  vfio_device_feature,
  vfio_device_feature_dma_logging_range,
  vfio_device_feature_mig_state,
  vfio_device_feature_migration,
} from "../../vfio/uapi-feature.js";
import { loggingControl, loggingReport } from "../protocol/protocol.js";
import type { DmaTable } from "./client-dma.js";
import { DirtyLog } from "./dirty-log.js";
import type { ServerMigration } from "./migration.js";
import { Refusal } from "./refusal.js";

/** Ranges that a client may watch; more would make every write slow. */
const MAX_RANGES = 64;

interface ServerFeature {
  readonly get?: (data: Uint8Array) => Uint8Array;
  /** @returns what the answer carries: as a rule what was asked */
  readonly set?: (data: Uint8Array) => Uint8Array;
}

/** VFIO_USER_DEVICE_FEATURE of one session. */
export class ServerFeatures {
  private readonly features = new Map<number, ServerFeature>();

  /** @param migration undefined if the device can't be migrated @param maxDataBytes that an answer may carry */
  constructor(
    private readonly memory: DmaTable,
    migration: ServerMigration | undefined,
    private readonly maxDataBytes: () => number,
  ) {
    this.features.set(VFIO_DEVICE_FEATURE_DMA_LOGGING_START, { set: (data) => this.startLogging(data) });
    this.features.set(VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, { set: (data) => this.stopLogging(data) });
    this.features.set(VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, { get: (data) => this.reportLogging(data) });
    if (migration === undefined) return;
    this.features.set(VFIO_DEVICE_FEATURE_MIGRATION, {
      get: () => vfio_device_feature_migration.encode({ flags: BigInt(VFIO_MIGRATION_STOP_COPY) }),
    });
    this.features.set(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, {
      get: () => vfio_device_feature_mig_state.encode({ device_state: migration.state, data_fd: -1 }),
      set: (data) => {
        migration.set(vfio_device_feature_mig_state.decode(data).device_state);
        return data.slice();
      },
    });
  }

  /** @throws Refusal, ArgumentError where the payload is too short */
  answer(payload: Uint8Array): readonly Uint8Array[] {
    const { argsz, flags } = vfio_device_feature.decode(payload);
    const feature = this.features.get(flags & VFIO_DEVICE_FEATURE_MASK);
    if (feature === undefined) throw new Refusal(Errno.ENOTTY);
    const wantsGet = (flags & VFIO_DEVICE_FEATURE_GET) !== 0;
    const wantsSet = (flags & VFIO_DEVICE_FEATURE_SET) !== 0;
    if ((wantsGet && feature.get === undefined) || (wantsSet && feature.set === undefined)) {
      throw new Refusal(Errno.ENOTTY);
    }
    if ((flags & VFIO_DEVICE_FEATURE_PROBE) !== 0) return [payload.slice()];
    if (wantsGet === wantsSet) throw new Refusal(Errno.EINVAL);
    const { sizeBytes } = vfio_device_feature;
    const data = payload.subarray(sizeBytes);
    const body = (wantsGet ? feature.get : feature.set)?.(data) ?? new Uint8Array(0);
    const header = vfio_device_feature.encode({ argsz: sizeBytes + body.length, flags });
    // As everywhere: without room for all of it only how much that would be.
    return wantsGet && argsz < sizeBytes + body.length ? [header] : [header, body];
  }

  private startLogging(data: Uint8Array): Uint8Array {
    const { page_size, num_ranges } = loggingControl.decode(data);
    const each = vfio_device_feature_dma_logging_range.sizeBytes;
    if (num_ranges > MAX_RANGES) throw new Refusal(Errno.E2BIG);
    if (data.length !== loggingControl.sizeBytes + num_ranges * each) throw new Refusal(Errno.EINVAL);
    if (page_size === 0n || (page_size & (page_size - 1n)) !== 0n) throw new Refusal(Errno.EINVAL);
    const spans = Array.from({ length: num_ranges }, (_, i) => {
      const at = loggingControl.sizeBytes + i * each;
      const { iova, length } = vfio_device_feature_dma_logging_range.decode(data, at);
      if (length === 0n || iova + length > 2n ** 64n) throw new Refusal(Errno.EINVAL);
      return { start: iova, end: iova + length };
    }).sort((a, b) => (a.start < b.start ? -1 : 1));
    if (spans.some(({ end }, i) => end > (spans[i + 1]?.start ?? end))) throw new Refusal(Errno.EINVAL);
    if (this.memory.logging) throw new Refusal(Errno.EINVAL);
    this.memory.startLogging(new DirtyLog(spans));
    const answer = data.slice();
    answer.set(loggingControl.encode({ page_size: BigInt(this.memory.logPageBytes), num_ranges }));
    return answer;
  }

  private stopLogging(data: Uint8Array): Uint8Array {
    this.memory.stopLogging();
    return data.slice();
  }

  private reportLogging(data: Uint8Array): Uint8Array {
    const { iova, length, page_size } = loggingReport.decode(data);
    const most = this.maxDataBytes() - loggingReport.sizeBytes;
    const bitmap = this.memory.reportLog(iova, length, page_size, most);
    return Buffer.concat([data.subarray(0, loggingReport.sizeBytes), bitmap]);
  }
}
