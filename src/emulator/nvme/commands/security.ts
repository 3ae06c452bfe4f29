/** Security Send and Receive: the list of protocols. */
import { AdminOpcode } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { Transfer } from "../host/transfer.js";
import type { AdminService } from "./admin-service.js";

/** Security protocol 00h (SPC-5): what there is. */
const INFORMATION = 0;
/** SPSP of it: the list of protocols, and the controller's certificate. */
const PROTOCOLS = 0;
const CERTIFICATE = 1;

/** The list of protocols: six bytes, its length (big-endian), and the only one there is. */
const protocolList = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1, INFORMATION);
/** A certificate of no length: there is none. */
const noCertificate = new Uint8Array(4);

/** Security Receive and Send: the security protocol that tells which there are, and no other. */
export class SecurityCommands implements AdminService {
  readonly commands = {
    [AdminOpcode.securityReceive]: { execute: () => this.receive(), lockable: true },
    [AdminOpcode.securitySend]: { execute: () => this.send(), lockable: true },
  };

  constructor(
    private readonly command: Command,
    private readonly transfer: Transfer,
    private readonly maxTransferBytes: number,
  ) {}

  private receive(): number {
    const { command } = this;
    const cdw10 = command.cdw(10);
    const allocated = command.cdw(11);
    const specific = (cdw10 >>> 8) & 0xffff;
    if (cdw10 >>> 24 !== INFORMATION || allocated > this.maxTransferBytes) return NvmeStatus.invalidField;
    if (specific !== PROTOCOLS && specific !== CERTIFICATE) return NvmeStatus.invalidField;
    const data = new Uint8Array(allocated);
    data.set((specific === PROTOCOLS ? protocolList : noCertificate).subarray(0, allocated));
    return this.transfer.send(command, data);
  }

  /** Nothing can be sent to protocol 00h, and there is no other. */
  private send(): number {
    return NvmeStatus.invalidField;
  }
}
