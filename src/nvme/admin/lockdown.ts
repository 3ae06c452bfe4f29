/** Lockdown: prohibits commands and features. */
import { checkInteger, checkKeys, lookUp } from "../../core/check.js";
import { type AdminTarget, requireCommands } from "../command/admin-target.js";
import { AdminOpcode } from "../spec/opcodes.js";

/** Lockdown, CDW10 bits 3:0 (SCP): what `identifier` is. */
export const LockdownScope = {
  /** An opcode of an admin command. */
  adminOpcode: 0,
  /** A feature identifier, for Set Features. */
  feature: 2,
  /** An opcode of an NVMe-MI command. */
  managementOpcode: 3,
  /** An opcode of a PCIe command of NVMe-MI. */
  managementPcieOpcode: 4,
} as const;

/** Lockdown, CDW10 bits 6:5 (IFC): where it is prohibited. */
export const LockdownInterface = {
  /** The admin submission queue. */
  adminQueue: 0,
  /** The admin submission queue and out-of-band management. */
  adminQueueAndOutOfBand: 1,
  /** Out-of-band management. */
  outOfBand: 2,
} as const;

/** Options of {@link NvmeController.lockdown}. */
export interface LockdownOptions {
  /** What `identifier` is. */
  readonly scope: keyof typeof LockdownScope;
  /** Opcode or feature identifier, 8 bits. */
  readonly identifier: number;
  /** True prohibits the command or feature; false allows it again. */
  readonly prohibit: boolean;
  /** Where it is prohibited; the admin queue by default. */
  readonly interface?: keyof typeof LockdownInterface | undefined;
  /** Index in the UUID list, for vendor-specific features; 0 (default): none. */
  readonly uuidIndex?: number | undefined;
}

/**
 * Lockdown: prohibits a command or a feature until it is allowed again or power is lost.
 * @throws UnsupportedError, ArgumentError, NvmeError (Prohibition of Command Execution Not Supported), TimeoutError,
 *   DeviceGoneError, ClosedError
 */
export async function lockdown(target: AdminTarget, options: LockdownOptions): Promise<void> {
  checkKeys("options", options, ["scope", "identifier", "prohibit", "interface", "uuidIndex"]);
  requireCommands(target, "lockdown");
  const { scope, identifier, prohibit, interface: to = "adminQueue", uuidIndex = 0 } = options;
  const scp = lookUp("scope", scope, LockdownScope);
  const ifc = lookUp("interface", to, LockdownInterface);
  checkInteger("identifier", identifier, 0, 0xff);
  checkInteger("uuidIndex", uuidIndex, 0, 0x7f);
  await target.admin({
    name: `Lockdown (${scope} 0x${identifier.toString(16).padStart(2, "0")})`,
    opcode: AdminOpcode.lockdown,
    cdw10: scp | (prohibit ? 1 << 4 : 0) | (ifc << 5) | (identifier << 8),
    cdw14: uuidIndex,
  });
}
