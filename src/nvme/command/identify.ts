/** The Identify command: reads one data structure of a controller or a namespace. */
import type { QuirkTarget } from "../quirks/quirks.js";
import { IDENTIFY_BYTES, type IdentifyController, type IdentifyNamespace } from "../spec/identify.js";
import { AdminOpcode } from "../spec/opcodes.js";
import { type AdminTarget, adminRead } from "./admin-target.js";

/** Selects a data structure of Identify, in addition to the CNS. Fields have the specification's names. */
export interface IdentifyOptions {
  /** Namespace that the structure describes, or after which a list starts; 0 by default. */
  readonly nsid?: number | undefined;
  /** Controller identifier that the structure describes, or at which a list starts; 0 by default. */
  readonly cntid?: number | undefined;
  /** CNS Specific Identifier, e.g. of an NVM set, an endurance group or a domain; 0 by default. */
  readonly cnssid?: number | undefined;
  /** Command Set Identifier; 0 (default): NVM. */
  readonly csi?: number | undefined;
  /** Index in the UUID list; 0 (default): none. */
  readonly uuidIndex?: number | undefined;
}

/**
 * Reads an Identify data structure, 4096 bytes. The fields of `options` must fit their dwords.
 * @param cns Controller or Namespace Structure
 * @throws as NvmeController.admin()
 */
export async function readIdentify(
  target: Pick<AdminTarget, "dma" | "admin">,
  cns: number,
  options: IdentifyOptions = {},
): Promise<Uint8Array> {
  const { nsid = 0, cntid = 0, cnssid = 0, csi = 0, uuidIndex = 0 } = options;
  const command = {
    name: `Identify (CNS 0x${cns.toString(16).padStart(2, "0")}, nsid ${nsid})`,
    opcode: AdminOpcode.identify,
    nsid,
    cdw10: (cns | (cntid << 16)) >>> 0,
    cdw11: (cnssid | (csi << 24)) >>> 0,
    cdw14: uuidIndex,
  };
  return (await adminRead(target, command, IDENTIFY_BYTES)).bytes;
}

/** Identify Namespace without identifiers that can't be trusted (quirk `bogus-identifiers`). */
export function trusted(
  target: Pick<QuirkTarget, "hasQuirk">,
  identify: IdentifyNamespace,
): IdentifyNamespace {
  if (!target.hasQuirk("bogus-identifiers")) return identify;
  return {
    ...identify,
    eui64: new Uint8Array(identify.eui64.length),
    nguid: new Uint8Array(identify.nguid.length),
  };
}

/** Identify Controller without a name that can't be trusted (quirk `bogus-subsystem-nqn`). */
export function trustedController(
  target: Pick<QuirkTarget, "hasQuirk">,
  identify: IdentifyController,
): IdentifyController {
  return target.hasQuirk("bogus-subsystem-nqn") ? { ...identify, subnqn: "" } : identify;
}
