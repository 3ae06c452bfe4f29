/** NVMe-MI Send and Receive: the subsystem's health, its port, Vital Product Data, and one configuration. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { AdminOpcode } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { Transfer } from "../host/transfer.js";
import { u16 } from "../medium/state-schema.js";
import { type AdminService, savedPart } from "./admin-service.js";
import { TEMPERATURE } from "./features.js";

/** CDW10: the MCTP message type (bits 6:0), and NMIMT (bits 14:11). */
const MCTP_NVME_MI = 4;
const NVME_MI_COMMAND = 1;
/** Management commands (NVMe-MI 1.2, section "Management Interface Command Set"). */
const Opcode = {
  readStructure: 0x00,
  subsystemHealth: 0x01,
  configurationSet: 0x03,
  configurationGet: 0x04,
  vpdRead: 0x05,
  vpdWrite: 0x06,
} as const;
/** Response message status, DW0 bits 7:0. */
const Response = { success: 0, invalidOpcode: 3, invalidParameter: 4, invalidCommandSize: 5 } as const;
/** Data structures of Read NVMe-MI Data Structure (DTYP, management dword 0 bits 31:24). */
const Structure = { subsystem: 0, port: 1 } as const;
const STRUCTURE_BYTES = 32;
const PORT_PCIE = 1;
/** NVMe-MI 1.2. */
const VERSION = [1, 2] as const;
/** Of subsystem status: drive functional, and no reset is required. */
const DRIVE_FUNCTIONAL = (1 << 5) | (1 << 4);
const KELVIN_0 = 273;
/** Composite Controller Status: ready. */
const READY = 1;
const VPD_BYTES = 256;
/** Configuration identifiers: the longest MCTP message part. */
const MCTP_TRANSMISSION_UNIT = 3;
const LEAST_UNIT = 64;
const MOST_UNIT = 250;

/** The part of a migration state that holds what Send has changed. */
const managementState = lazily(() =>
  z.strictObject({ vpd: z.base64().check(z.maxLength(VPD_BYTES * 2)), transmissionUnit: u16() }),
);

/** The commands of NVMe-MI that a host can tunnel through the admin queue, as few as make a useful target. */
export class ManagementCommands implements AdminService {
  readonly commands = {
    [AdminOpcode.nvmeMiReceive]: { execute: () => this.receive() },
    [AdminOpcode.nvmeMiSend]: { execute: () => this.send(), lockable: true },
  };
  readonly saved = savedPart(
    "management",
    managementState,
    () => ({
      vpd: Buffer.from(this.vpd).toString("base64"),
      transmissionUnit: this.transmissionUnit,
    }),
    ({ vpd, transmissionUnit }) => {
      this.vpd.fill(0);
      this.vpd.set(Buffer.from(vpd, "base64").subarray(0, VPD_BYTES));
      this.transmissionUnit = transmissionUnit;
    },
  );
  private readonly vpd = new Uint8Array(VPD_BYTES);
  private transmissionUnit = LEAST_UNIT;

  constructor(private readonly context: { readonly command: Command; readonly transfer: Transfer }) {}

  private receive(): number {
    const { command, transfer } = this.context;
    if (!this.isCommand) return NvmeStatus.invalidField;
    const nmd0 = command.cdw(12);
    switch (command.cdw(11) & 0xff) {
      case Opcode.readStructure:
        return this.structure(nmd0 >>> 24, (nmd0 >>> 16) & 0xff);
      case Opcode.subsystemHealth: {
        const temperature = TEMPERATURE - KELVIN_0;
        // NSS, SW (no warning), CTEMP, PDLU, CCS.
        return transfer.send(command, Uint8Array.of(DRIVE_FUNCTIONAL, 0xff, temperature, 0, READY, 0, 0, 0));
      }
      case Opcode.configurationGet:
        if ((nmd0 & 0xff) !== MCTP_TRANSMISSION_UNIT) return this.respond(Response.invalidParameter);
        return this.respond(Response.success, this.transmissionUnit);
      case Opcode.vpdRead: {
        const [at, length] = [nmd0 & 0xffff, command.cdw(13) & 0xffff];
        if (at + length > VPD_BYTES) return this.respond(Response.invalidParameter);
        return transfer.send(command, this.vpd.subarray(at, at + length));
      }
      default:
        return this.respond(Response.invalidOpcode);
    }
  }

  private send(): number {
    const { command, transfer } = this.context;
    if (!this.isCommand) return NvmeStatus.invalidField;
    const [nmd0, nmd1] = [command.cdw(12), command.cdw(13)];
    switch (command.cdw(11) & 0xff) {
      case Opcode.configurationSet: {
        const size = nmd1 & 0xffff;
        const isUnit = (nmd0 & 0xff) === MCTP_TRANSMISSION_UNIT && size >= LEAST_UNIT && size <= MOST_UNIT;
        if (isUnit) this.transmissionUnit = size;
        return this.respond(isUnit ? Response.success : Response.invalidParameter);
      }
      case Opcode.vpdWrite: {
        const [at, length] = [nmd0 & 0xffff, nmd1 & 0xffff];
        if (at + length > VPD_BYTES) return this.respond(Response.invalidParameter);
        if (length === 0) return this.respond(Response.invalidCommandSize);
        const bytes = new Uint8Array(length);
        const status = transfer.fetch(command, bytes);
        if (status === NvmeStatus.success) this.vpd.set(bytes, at);
        return status;
      }
      default:
        return this.respond(Response.invalidOpcode);
    }
  }

  private get isCommand(): boolean {
    const cdw10 = this.context.command.cdw(10);
    return (cdw10 & 0x7f) === MCTP_NVME_MI && ((cdw10 >>> 11) & 0xf) === NVME_MI_COMMAND;
  }

  private structure(type: number, port: number): number {
    const { command, transfer } = this.context;
    const bytes = new Uint8Array(STRUCTURE_BYTES);
    if (type === Structure.subsystem) bytes.set([0, ...VERSION]);
    else if (type === Structure.port && port === 0) bytes.set([PORT_PCIE, 0, LEAST_UNIT]);
    else return this.respond(Response.invalidParameter);
    // Response Data Length, bits 23:8 of the management response.
    command.dw0 = STRUCTURE_BYTES << 8;
    return transfer.send(command, bytes);
  }

  /** DW0: the response message's status, and the management response in bits 31:8. */
  private respond(status: number, response = 0): number {
    this.context.command.dw0 = ((response << 8) | status) >>> 0;
    return NvmeStatus.success;
  }
}
