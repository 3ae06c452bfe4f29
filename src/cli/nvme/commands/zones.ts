/** The zone commands behind `iova nvme zns`. */

import { ArgumentError, UnsupportedError } from "../../../core/errors.js";
import { NvmeError } from "../../../nvme/command/error.js";
import type { NvmeController } from "../../../nvme/controller.js";
import { currentLbaFormat, type IdentifyNamespace, identifyNamespace } from "../../../nvme/spec/identify.js";
import { IdentifyCns, IoOpcode, ZoneReceiveAction } from "../../../nvme/spec/opcodes.js";
import {
  ZONE_DESCRIPTOR_BYTES,
  ZONE_PARTIAL_REPORT,
  ZONE_REPORT_HEADER_BYTES,
  ZONE_SELECT_ALL,
  ZONE_SEQUENTIAL_WRITE_REQUIRED,
  type ZoneDescriptor,
  ZoneState,
  zoneDescriptor,
  zoneReportHeader,
} from "../../../nvme/spec/zoned.js";

/** nvme-cli's names of zone states. */
const stateNames: Readonly<Record<number, string>> = {
  [ZoneState.empty]: "EMPTY",
  [ZoneState.implicitlyOpened]: "IMP_OPENED",
  [ZoneState.explicitlyOpened]: "EXP_OPENED",
  [ZoneState.closed]: "CLOSED",
  [ZoneState.readOnly]: "RDONLY",
  [ZoneState.full]: "FULL",
  [ZoneState.offline]: "OFFLINE",
};

export function stateName(state: number): string {
  return stateNames[state] ?? `0x${state.toString(16)}`;
}

export function typeName(type: number): string {
  return type === ZONE_SEQUENTIAL_WRITE_REQUIRED ? "SEQWRITE_REQ" : `0x${type.toString(16)}`;
}

/** Zone Management Receive, CDW13 bits 15:8 (ZRASF): all zones, or those in a state. */
export const reportedStates: Readonly<Record<string, number>> = {
  all: 0,
  empty: 1,
  "imp-opened": 2,
  "exp-opened": 3,
  closed: 4,
  full: 5,
  readonly: 6,
  offline: 7,
};

/** Words of a 64-bit block address. */
function words(lba: bigint): { readonly cdw10: number; readonly cdw11: number } {
  return { cdw10: Number(lba & 0xffff_ffffn), cdw11: Number(lba >> 32n) };
}

/** Descriptors that fit in a page after the header. */
const ZONES_PER_COMMAND = 63;

/** The layout of a zoned namespace. */
export interface ZonedShape {
  readonly nsid: number;
  readonly zoneSizeBlocks: bigint;
  readonly blockSizeBytes: number;
}

/** @throws UnsupportedError if the namespace is not zoned, ArgumentError if it is not active */
export async function zonedShape(nvme: NvmeController, nsid: number): Promise<ZonedShape> {
  const ns = identifyNamespace.decode(await nvme.structures.read(IdentifyCns.namespace, { nsid }));
  if (ns.nsze === 0n) throw new ArgumentError(`there is no active namespace ${nsid}`);
  const { zoneSizeBlocks } = await formatOf(nvme, nsid, ns);
  return { nsid, zoneSizeBlocks, blockSizeBytes: currentLbaFormat(ns).blockSizeBytes };
}

async function formatOf(nvme: NvmeController, nsid: number, ns: IdentifyNamespace) {
  const { flbas, nlbaf } = ns;
  const index = (flbas & 0xf) | (nlbaf >= 16 ? ((flbas >> 5) & 3) << 4 : 0);
  try {
    const { lbafe } = await nvme.structures.zonedNamespace(nsid);
    const format = lbafe[index];
    if (format !== undefined && format.zoneSizeBlocks > 0n) return format;
  } catch (error) {
    if (!(error instanceof NvmeError)) throw error;
  }
  throw new UnsupportedError(`namespace ${nsid} of ${nvme.bdf} has no zones`);
}

/** A zone report. */
export interface ZoneReport {
  /** Zones in the wanted states, including those before the start, as nvme-cli counts them. */
  readonly count: bigint;
  readonly zones: readonly ZoneDescriptor[];
}

/**
 * Reports zones, with as many commands as needed.
 * @param options most: zones to report at most
 * @throws NvmeError, TimeoutError, DeviceGoneError
 */
export async function reportZones(
  nvme: NvmeController,
  { nsid, zoneSizeBlocks }: ZonedShape,
  options: { readonly start: bigint; readonly states: number; readonly most: number },
): Promise<ZoneReport> {
  const { start, states, most } = options;
  const sizeBytes = ZONE_REPORT_HEADER_BYTES + ZONES_PER_COMMAND * ZONE_DESCRIPTOR_BYTES;
  using buffer = nvme.dma.alloc(sizeBytes);
  const receive = async (from: bigint, flags: number): Promise<bigint> => {
    await nvme.io({
      name: "report zones",
      opcode: IoOpcode.zoneManagementReceive,
      nsid,
      ...words(from),
      cdw12: sizeBytes / 4 - 1, // zero-based
      cdw13: ZoneReceiveAction.report | (states << 8) | flags,
      data: { buffer, length: sizeBytes },
    });
    return zoneReportHeader.decode(buffer.bytes).zones;
  };
  const count = await receive(0n, 0);
  const after = start === 0n ? count : await receive(start, 0);
  const wanted = after < BigInt(most) ? Number(after) : most;
  const zones: ZoneDescriptor[] = [];
  for (let here = Math.min(wanted, ZONES_PER_COMMAND); here > 0; ) {
    for (let index = 0; index < here; index++) {
      const at = ZONE_REPORT_HEADER_BYTES + index * ZONE_DESCRIPTOR_BYTES;
      zones.push(zoneDescriptor.decode(buffer.bytes.subarray(at, at + ZONE_DESCRIPTOR_BYTES)));
    }
    const last = zones.at(-1);
    if (last === undefined || zones.length >= wanted) break;
    const more = await receive(last.zslba + zoneSizeBlocks, ZONE_PARTIAL_REPORT);
    here = Math.min(wanted - zones.length, ZONES_PER_COMMAND, Number(more));
  }
  return { count, zones };
}

/**
 * Zone Append, one command.
 * @param zone first block of the zone
 * @returns the first block written
 * @throws NvmeError, TimeoutError, DeviceGoneError
 */
export async function appendToZone(
  nvme: NvmeController,
  { nsid, blockSizeBytes }: ZonedShape,
  zone: bigint,
  bytes: Uint8Array,
): Promise<bigint> {
  using buffer = nvme.dma.alloc(bytes.length);
  buffer.write(bytes);
  const { dw0, dw1 } = await nvme.io({
    name: "zone append",
    opcode: IoOpcode.zoneAppend,
    nsid,
    ...words(zone),
    cdw12: bytes.length / blockSizeBytes - 1, // zero-based
    data: { buffer, length: bytes.length },
  });
  return (BigInt(dw1) << 32n) | BigInt(dw0);
}

/** Most bytes of one append. */
export async function appendLimitBytes(nvme: NvmeController): Promise<number> {
  const { zasl } = await nvme.structures.zonedController();
  if (zasl === 0) return nvme.maxTransferBytes;
  return Math.min(nvme.maxTransferBytes, 2 ** zasl * nvme.capabilities.minPageBytes);
}

/**
 * Zone Management Send.
 * @param zone first block of a zone; undefined: all zones that the action applies to
 * @throws NvmeError, TimeoutError, DeviceGoneError
 */
export async function changeZone(
  nvme: NvmeController,
  nsid: number,
  action: { readonly name: string; readonly code: number },
  zone: bigint | undefined,
): Promise<void> {
  await nvme.io({
    name: `${action.name} zone`,
    opcode: IoOpcode.zoneManagementSend,
    nsid,
    ...words(zone ?? 0n),
    cdw13: action.code | (zone === undefined ? ZONE_SELECT_ALL : 0),
  });
}
