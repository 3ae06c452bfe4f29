/** Asks a vfio-user server for a region, and checks the answer. */
import { Errno } from "../../core/errno.js";
import { ArgumentError, SysError } from "../../core/errors.js";
import { close, isSealedAgainstShrinking } from "../../sys/syscalls.js";
import type { RegionInfo } from "../../vfio/device-io.js";
import { decodeRegion } from "../../vfio/region.js";
import { vfio_region_info } from "../../vfio/uapi.js";
import { closeFds, type VfioUserProtocolError } from "../protocol/channel.js";
import { Command } from "../protocol/protocol.js";
import { ANSWER_ROOM, MOST_ANSWER_ROOM } from "./connection.js";
import type { Answer } from "./exchange.js";

/** A region of a server. */
export interface ServedRegion {
  readonly info: RegionInfo;
  /** The file to map, if the server sent one that is safe to map. */
  readonly fd: number | undefined;
}

/** The device that asks. */
interface Asker {
  readonly lease: { readonly label: string };
  requestWithFds(command: number, parts: readonly Uint8Array[]): Answer;
  protocolError(what: string, cause?: unknown): VfioUserProtocolError;
}

/**
 * VFIO_USER_DEVICE_GET_REGION_INFO. The caller closes the region's file.
 * @param isTrusted maps files that the server could truncate
 * @throws ArgumentError if there is no such region; VfioUserProtocolError; as {@link VfioUserClient.request}
 */
export function askRegion(device: Asker, index: number, isTrusted: boolean): ServedRegion {
  const { payload, fds } = requestRegion(device, index);
  const [fd, ...more] = fds;
  closeFds(more);
  try {
    const region = checkRegion(device, decode(device, payload), index, fd, isTrusted);
    if (region.fd === undefined && fd !== undefined) close(fd);
    return region;
  } catch (error) {
    if (fd !== undefined) close(fd);
    throw error;
  }
}

/** Asks with enough room for the capabilities: otherwise the server leaves them out. */
function requestRegion(device: Asker, index: number): Answer {
  for (let room = ANSWER_ROOM; ; ) {
    const request = vfio_region_info.encode({ argsz: room, index });
    let answer: Answer;
    try {
      answer = device.requestWithFds(Command.deviceGetRegionInfo, [request]);
    } catch (error) {
      if (!(error instanceof SysError) || error.errno !== Errno.EINVAL) throw error;
      throw new ArgumentError(`${device.lease.label} has no region ${index}`, { cause: error });
    }
    const { payload, fds } = answer;
    const needed = payload.length < vfio_region_info.sizeBytes ? 0 : vfio_region_info.decode(payload).argsz;
    if (needed <= room) return answer;
    closeFds(fds);
    if (needed > MOST_ANSWER_ROOM) throw device.protocolError(`${needed} bytes about region ${index}`);
    room = needed;
  }
}

function decode(device: Asker, payload: Uint8Array): RegionInfo {
  try {
    return decodeRegion(payload);
  } catch (cause) {
    if (!(cause instanceof ArgumentError)) throw cause;
    // The mistake is the server's, not the caller's.
    throw device.protocolError(`an invalid region: ${cause.message}`, cause);
  }
}

/** Checks all that could make this process touch memory that doesn't exist. */
function checkRegion(
  device: Asker,
  info: RegionInfo,
  index: number,
  fd: number | undefined,
  isTrusted: boolean,
): ServedRegion {
  if (info.index !== index) throw device.protocolError(`region ${info.index} instead of region ${index}`);
  if (!Number.isSafeInteger(info.sizeBytes) || !Number.isSafeInteger(info.offset)) {
    throw device.protocolError("a size beyond 2^53");
  }
  for (const { offset, sizeBytes } of info.mappable) {
    if (offset + sizeBytes > info.sizeBytes) {
      throw device.protocolError(`an area beyond the end of region ${index}`);
    }
  }
  const isSafe = fd !== undefined && (isTrusted || isSealedAgainstShrinking(fd));
  return isSafe ? { info, fd } : { info: { ...info, mappable: [] }, fd: undefined };
}
