/** Log pages of Flexible Data Placement. */
import { checkInteger } from "../../core/check.js";
import { NvmeProtocolError } from "../command/error.js";
import {
  type FdpEvent,
  type FdpStatistics,
  fdpConfiguration,
  fdpConfigurationsHeader,
  fdpEvent,
  fdpEventsHeader,
  fdpStatisticsLog,
  fdpUsage,
  fdpUsageHeader,
} from "../spec/fdp.js";
import { LogPageId } from "../spec/opcodes.js";
import type { LogSource } from "./log-source.js";

/** A configuration of Flexible Data Placement that an endurance group offers. */
export type FdpConfiguration = ReturnType<typeof fdpConfiguration.decode> & {
  /** Type of each reclaim unit handle: a value of ReclaimUnitHandleType. */
  readonly handleTypes: readonly number[];
};

/** Bytes of a reclaim unit handle's descriptor in a configuration. */
const HANDLE_BYTES = 4;
const FIRST_BYTES = 4096;
/** LSP of the FDP Events log: host events. */
const HOST_EVENTS = 1;
/** Largest log that is read; a larger one is treated as malformed. */
const MOST_BYTES = 16 * 1024 * 1024;

/** Log pages of Flexible Data Placement, each for one endurance group. See {@link NvmeLogs.fdp}. */
export class NvmeFdpLogs {
  constructor(private readonly logs: LogSource) {}

  /** FDP Configurations (LID 20h), by index. @throws as NvmeLogs.read(); NvmeProtocolError if it is malformed */
  async configurations(endgid: number): Promise<readonly FdpConfiguration[]> {
    checkInteger("endgid", endgid, 0, 0xffff);
    const length = (page: Uint8Array): number => {
      const { totalBytes } = fdpConfigurationsHeader.decode(page);
      if (totalBytes > MOST_BYTES) {
        throw new NvmeProtocolError(`the FDP Configurations log claims ${totalBytes} bytes`);
      }
      return totalBytes;
    };
    const read = await this.logs.readGrowing(LogPageId.fdpConfigurations, FIRST_BYTES, length, {
      lsi: endgid,
    });
    const { configurations, totalBytes } = fdpConfigurationsHeader.decode(read);
    const page = read.subarray(0, totalBytes);
    const all: FdpConfiguration[] = [];
    for (let i = 0, at = fdpConfigurationsHeader.sizeBytes; i <= configurations; i++) {
      const rest = page.subarray(at);
      if (rest.length < fdpConfiguration.sizeBytes) throw broken(i);
      const one = fdpConfiguration.decode(rest);
      const types = fdpConfiguration.sizeBytes;
      const needed = types + one.reclaimUnitHandles * HANDLE_BYTES;
      if (one.sizeBytes < needed || one.sizeBytes > rest.length) throw broken(i);
      const handleTypes = Array.from(
        { length: one.reclaimUnitHandles },
        (_, n) => rest[types + n * HANDLE_BYTES] ?? 0,
      );
      all.push({ ...one, handleTypes });
      at += one.sizeBytes;
    }
    return all;
  }

  /** Reclaim Unit Handle Usage (LID 21h): 0 unused, 1 used by a host, 2 used by the controller. @throws as configurations() */
  async handleUsage(endgid: number): Promise<readonly number[]> {
    checkInteger("endgid", endgid, 0, 0xffff);
    const length = (page: Uint8Array): number =>
      fdpUsageHeader.sizeBytes + fdpUsageHeader.decode(page).handles * fdpUsage.sizeBytes;
    const lid = LogPageId.fdpReclaimUnitHandles;
    const page = await this.logs.readGrowing(lid, FIRST_BYTES, length, { lsi: endgid });
    return Array.from(
      { length: fdpUsageHeader.decode(page).handles },
      (_, i) => fdpUsage.decode(page.subarray(fdpUsageHeader.sizeBytes + i * fdpUsage.sizeBytes)).usage,
    );
  }

  /** FDP Statistics (LID 22h). @throws as configurations() */
  async statistics(endgid: number): Promise<FdpStatistics> {
    const page = await this.logs.read(LogPageId.fdpStatistics, fdpStatisticsLog.sizeBytes, { lsi: endgid });
    return fdpStatisticsLog.decode(page);
  }

  /** FDP Events (LID 23h): host events or controller events. @throws as configurations() */
  async events(endgid: number, whose: "host" | "controller"): Promise<readonly FdpEvent[]> {
    checkInteger("endgid", endgid, 0, 0xffff);
    const length = (page: Uint8Array): number => {
      const { events } = fdpEventsHeader.decode(page);
      const bytes = fdpEventsHeader.sizeBytes + events * fdpEvent.sizeBytes;
      if (bytes > MOST_BYTES) throw new NvmeProtocolError(`the FDP Events log claims ${events} events`);
      return bytes;
    };
    const lsp = whose === "host" ? HOST_EVENTS : 0;
    const page = await this.logs.readGrowing(LogPageId.fdpEvents, FIRST_BYTES, length, { lsi: endgid, lsp });
    return Array.from({ length: fdpEventsHeader.decode(page).events }, (_, i) =>
      fdpEvent.decode(page.subarray(fdpEventsHeader.sizeBytes + i * fdpEvent.sizeBytes)),
    );
  }
}

function broken(index: number): NvmeProtocolError {
  return new NvmeProtocolError(`configuration ${index} of the FDP Configurations log is cut off`);
}
