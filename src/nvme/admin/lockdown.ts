import { checkInteger } from "../../core/check.js";
import { ArgumentError } from "../../core/errors.js";
import { type AdminTarget, requireCommands } from "../command/admin-target.js";
import { AdminOpcode } from "../spec/opcodes.js";

/** Lockdown, CDW10 bits 3:0 (SCP): what is locked. */
export const LockdownScope = {
  adminOpcode: 0,
  feature: 2,
  managementOpcode: 3,
  managementPcieOpcode: 4,
} as const;

/** The same, bits 6:5 (IFC): to whom. */
export const LockdownInterface = { adminQueue: 0, adminQueueAndOutOfBand: 1, outOfBand: 2 } as const;

/** What lockdown() changes. */
export interface LockdownOptions {
  readonly scope: keyof typeof LockdownScope;
  /** Opcode or feature identifier. */
  readonly identifier: number;
  /** Forbid, or allow again. */
  readonly prohibit: boolean;
  readonly interface?: keyof typeof LockdownInterface | undefined;
  /** Index in the UUID list, for features of the vendor. */
  readonly uuidIndex?: number | undefined;
}

/**
 * Lockdown: forbids a command or a feature until it is allowed again, or until power is lost.
 * @throws UnsupportedError, ArgumentError, NvmeError (Prohibition of Command Execution Not Supported), TimeoutError,
 *   DeviceGoneError, ClosedError
 */
export async function lockdown(target: AdminTarget, options: LockdownOptions): Promise<void> {
  requireCommands(target, "lockdown");
  const { scope, identifier, prohibit, interface: to = "adminQueue", uuidIndex = 0 } = options;
  const scp = LockdownScope[scope];
  const ifc = LockdownInterface[to];
  if (scp === undefined || ifc === undefined) {
    throw new ArgumentError(`no such lockdown: scope ${scope}, interface ${to}`);
  }
  checkInteger("identifier", identifier, 0, 0xff);
  checkInteger("uuidIndex", uuidIndex, 0, 0x7f);
  await target.admin({
    name: `Lockdown (${scope} 0x${identifier.toString(16).padStart(2, "0")})`,
    opcode: AdminOpcode.lockdown,
    cdw10: scp | (prohibit ? 1 << 4 : 0) | (ifc << 5) | (identifier << 8),
    cdw14: uuidIndex,
  });
}
