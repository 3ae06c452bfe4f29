/** Security Send and Receive: the list of protocols, and the targets of RPMB. */
import { AdminOpcode } from "../../../nvme/spec/opcodes.js";
import { RPMB_PROTOCOL, RPMB_SPECIFIC } from "../../../nvme/spec/rpmb.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { Transfer } from "../host/transfer.js";
import { type RpmbState, type RpmbTarget, rpmbState } from "../medium/rpmb-target.js";
import { type AdminService, savedPart } from "./admin-service.js";

/** Security protocol 00h (SPC-5): what there is. */
const INFORMATION = 0;
/** SPSP of it: the list of protocols, and the controller's certificate. */
const PROTOCOLS = 0;
const CERTIFICATE = 1;

/** The list of protocols: six bytes, its length (big-endian), and those that there are. */
const listOf = (...protocols: readonly number[]): Uint8Array =>
  Uint8Array.of(0, 0, 0, 0, 0, 0, 0, protocols.length, ...protocols);
/** A certificate of no length: there is none. */
const noCertificate = new Uint8Array(4);

/** Security Receive and Send: the security protocol that tells which there are, and RPMB's. */
export class SecurityCommands implements AdminService {
  readonly commands = {
    [AdminOpcode.securityReceive]: { execute: () => this.receive(), lockable: true },
    [AdminOpcode.securitySend]: { execute: () => this.send(), lockable: true },
  };
  readonly saved = savedPart(
    "rpmb",
    rpmbState,
    () => this.rpmb.map((target) => target.save()),
    (saved) => this.load(saved),
  );

  /** @param rpmb the targets of RPMB, by number */
  constructor(
    private readonly command: Command,
    private readonly transfer: Transfer,
    private readonly maxTransferBytes: number,
    private readonly rpmb: readonly RpmbTarget[],
  ) {}

  reset(): void {
    for (const target of this.rpmb) target.reset();
  }

  private receive(): number {
    const { command } = this;
    const allocated = command.cdw(11);
    if (allocated > this.maxTransferBytes) return NvmeStatus.invalidField;
    const target = this.target();
    const answer = target === undefined ? this.information() : target.receive();
    // Of RPMB: nothing was asked.
    if (answer === undefined)
      return target === undefined ? NvmeStatus.invalidField : NvmeStatus.commandSequenceError;
    const data = new Uint8Array(allocated);
    data.set(answer.subarray(0, allocated));
    return this.transfer.send(command, data);
  }

  /** Nothing can be sent to protocol 00h. */
  private send(): number {
    const { command } = this;
    const length = command.cdw(11);
    const target = this.target();
    if (target === undefined || length > this.maxTransferBytes) return NvmeStatus.invalidField;
    const message = new Uint8Array(length);
    const status = this.transfer.fetch(command, message);
    if (status !== NvmeStatus.success) return status;
    return target.send(message) ? NvmeStatus.success : NvmeStatus.invalidField;
  }

  /** The RPMB target that the command names (NSSF). */
  private target(): RpmbTarget | undefined {
    const cdw10 = this.command.cdw(10);
    const isRpmb = cdw10 >>> 24 === RPMB_PROTOCOL && ((cdw10 >>> 8) & 0xffff) === RPMB_SPECIFIC;
    return isRpmb ? this.rpmb[cdw10 & 0xff] : undefined;
  }

  private information(): Uint8Array | undefined {
    const cdw10 = this.command.cdw(10);
    if (cdw10 >>> 24 !== INFORMATION) return undefined;
    const specific = (cdw10 >>> 8) & 0xffff;
    if (specific === CERTIFICATE) return noCertificate;
    if (specific !== PROTOCOLS) return undefined;
    return this.rpmb.length === 0 ? listOf(INFORMATION) : listOf(INFORMATION, RPMB_PROTOCOL);
  }

  private load(saved: RpmbState): void {
    for (const [i, target] of this.rpmb.entries()) {
      const state = saved[i];
      if (state !== undefined) target.load(state);
    }
  }
}
