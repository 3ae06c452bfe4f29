/** Security Send and Receive: the list of protocols, TCG Opal, and the targets of RPMB. */

import { OPAL_DISCOVERY, OPAL_PROTOCOL } from "../../../nvme/spec/opal/numbers.js";
import { AdminOpcode } from "../../../nvme/spec/opcodes.js";
import { RPMB_PROTOCOL, RPMB_SPECIFIC } from "../../../nvme/spec/rpmb.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { Transfer } from "../host/transfer.js";
import type { OpalLocks } from "../medium/opal-locks.js";
import { OPAL_COM_ID, type OpalTper } from "../medium/opal-tper.js";
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

/** Bits of CDW10 of Namespace Management: 1 deletes. */
const SELECT = 0xf;
const SELECT_DELETE = 1;

/** TCG Opal: what answers, and the locks that it keeps. */
export interface Opal {
  readonly tper: OpalTper;
  readonly locks: OpalLocks;
}

/** Security Receive and Send: the security protocol that tells which there are, TCG's and RPMB's. */
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
    private readonly opal: Opal | undefined,
  ) {}

  /** What would erase locked blocks is denied. */
  refusal(): number {
    const { command, opal } = this;
    const { opcode } = command;
    const erases =
      opcode === AdminOpcode.formatNvm ||
      opcode === AdminOpcode.sanitize ||
      opcode === AdminOpcode.sanitizeNamespace ||
      (opcode === AdminOpcode.namespaceManagement && (command.cdw(10) & SELECT) === SELECT_DELETE);
    return erases && opal?.locks.hasLocked === true ? NvmeStatus.operationDenied : NvmeStatus.success;
  }

  reset(): void {
    for (const target of this.rpmb) target.reset();
    this.opal?.tper.reset();
  }

  private receive(): number {
    const { command } = this;
    const allocated = command.cdw(11);
    if (allocated > this.maxTransferBytes) return NvmeStatus.invalidField;
    const target = this.target();
    const answer = target === undefined ? (this.information() ?? this.opalAnswer()) : target.receive();
    // Of RPMB: nothing was asked.
    if (answer === undefined)
      return target === undefined ? NvmeStatus.invalidField : NvmeStatus.commandSequenceError;
    const data = new Uint8Array(allocated);
    data.set(answer.subarray(0, allocated));
    return this.transfer.send(command, data);
  }

  private opalAnswer(): Uint8Array | undefined {
    const { opal } = this;
    const cdw10 = this.command.cdw(10);
    if (opal === undefined || cdw10 >>> 24 !== OPAL_PROTOCOL) return undefined;
    const specific = (cdw10 >>> 8) & 0xffff;
    if (specific === OPAL_DISCOVERY) return opal.tper.discovery();
    return specific === OPAL_COM_ID ? opal.tper.receive() : undefined;
  }

  /** Nothing can be sent to protocol 00h. */
  private send(): number {
    const { command } = this;
    const length = command.cdw(11);
    const target = this.target();
    const cdw10 = command.cdw(10);
    const isOpal = cdw10 >>> 24 === OPAL_PROTOCOL && ((cdw10 >>> 8) & 0xffff) === OPAL_COM_ID;
    const receiver = target ?? (isOpal ? this.opal?.tper : undefined);
    if (receiver === undefined || length > this.maxTransferBytes) return NvmeStatus.invalidField;
    const message = new Uint8Array(length);
    const status = this.transfer.fetch(command, message);
    if (status !== NvmeStatus.success) return status;
    return receiver.send(message) ? NvmeStatus.success : NvmeStatus.invalidField;
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
    return listOf(
      INFORMATION,
      ...(this.opal === undefined ? [] : [OPAL_PROTOCOL]),
      ...(this.rpmb.length === 0 ? [] : [RPMB_PROTOCOL]),
    );
  }

  private load(saved: RpmbState): void {
    for (const [i, target] of this.rpmb.entries()) {
      const state = saved[i];
      if (state !== undefined) target.load(state);
    }
  }
}
