/** Security Send and Security Receive. */
import { checkBytes, checkInteger, checkKeys, checkU32 } from "../../core/check.js";
import { type AdminTarget, adminRead, adminWrite, requireCommands } from "../command/admin-target.js";
import { NvmeOpal } from "../opal/opal.js";
import { assertNoQuirk } from "../quirks/quirks.js";
import { AdminOpcode } from "../spec/opcodes.js";
import { NvmeRpmb } from "./rpmb.js";

/** The security protocol of a Security Send or Security Receive. */
export interface SecurityProtocol {
  /** Security protocol (SECP), as numbered in SPC-5: 0 information, 1 to 6 TCG, EAh NVMe (RPMB), EFh ATA, ... */
  readonly protocol: number;
  /** SP Specific (SPSP), 16 bits: depends on the protocol; 0 by default. */
  readonly specific?: number | undefined;
  /** NVMe Security Specific Field (NSSF), 8 bits; 0 by default. */
  readonly nssf?: number | undefined;
  /** Namespace, for protocols that need one; 0 by default. */
  readonly nsid?: number | undefined;
}

const INFORMATION = 0;
const LIST_BYTES = 512;
/** Offsets of the length and of the entries in the list of protocols. */
const LENGTH_AT = 6;
const LIST_AT = 8;

/** Security Send and Receive (NVMe Base 2.x), for TCG Opal, RPMB and other protocols. */
export class NvmeSecurity {
  constructor(private readonly target: AdminTarget) {}

  /**
   * Security Send.
   * @throws UnsupportedError, ArgumentError, NvmeError, TimeoutError, DeviceGoneError, ClosedError
   */
  async send(protocol: SecurityProtocol, data: Uint8Array): Promise<void> {
    const fields = words(protocol, "Send");
    this.assertCommands();
    checkBytes("data", data);
    checkInteger("data.length", data.length, 1, this.target.maxTransferBytes);
    const command = { ...fields, opcode: AdminOpcode.securitySend, cdw11: data.length };
    await adminWrite(this.target, command, data);
  }

  /** Security Receive. @param sizeBytes allocation length @throws as send() */
  async receive(protocol: SecurityProtocol, sizeBytes: number): Promise<Uint8Array> {
    const fields = words(protocol, "Receive");
    this.assertCommands();
    checkInteger("sizeBytes", sizeBytes, 1, this.target.maxTransferBytes);
    const command = { ...fields, opcode: AdminOpcode.securityReceive, cdw11: sizeBytes };
    return (await adminRead(this.target, command, sizeBytes)).bytes;
  }

  /**
   * A target of the Replay Protected Memory Block.
   * @param target 0 to 6; 0 by default
   * @throws ArgumentError
   */
  rpmb(target = 0): NvmeRpmb {
    checkInteger("target", target, 0, 6);
    return new NvmeRpmb(this.target, this, target);
  }

  /** TCG Opal: ownership and locking ranges. */
  opal(): NvmeOpal {
    return new NvmeOpal(this.target, this);
  }

  private assertCommands(): void {
    requireCommands(this.target, "security");
    assertNoQuirk(this.target, "no-security", "Security Send and Receive");
  }

  /** Numbers of the protocols that the controller supports. @throws as send() */
  async protocols(): Promise<readonly number[]> {
    const list = await this.receive({ protocol: INFORMATION }, LIST_BYTES);
    // SPC-5 is big-endian.
    const length = new DataView(list.buffer, list.byteOffset).getUint16(LENGTH_AT, false);
    return [...list.subarray(LIST_AT, LIST_AT + length)];
  }
}

function words(protocol: SecurityProtocol, what: string): { name: string; nsid: number; cdw10: number } {
  checkKeys("protocol", protocol, ["protocol", "specific", "nssf", "nsid"]);
  const { protocol: secp, specific = 0, nssf = 0, nsid = 0 } = protocol;
  checkInteger("protocol", secp, 0, 0xff);
  checkInteger("specific", specific, 0, 0xffff);
  checkInteger("nssf", nssf, 0, 0xff);
  return {
    name: `Security ${what} (protocol 0x${secp.toString(16).padStart(2, "0")})`,
    nsid: checkU32("nsid", nsid),
    cdw10: ((secp << 24) | (specific << 8) | nssf) >>> 0,
  };
}
