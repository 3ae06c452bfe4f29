/** Format NVM, Namespace Management and Namespace Attachment. */
import { identifyNamespace } from "../../../nvme/spec/identify.js";
import { BROADCAST_NSID, CommandSet } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import type { Command } from "../host/command.js";
import type { Transfer } from "../host/transfer.js";
import type { Inventory } from "../medium/inventory.js";
import { UNIT_BYTES } from "../medium/layout.js";
import { lbaFormats, protectionBytes } from "../medium/lba-formats.js";
import type { EmulatedNamespace, NamespaceRecord, ZoneShape } from "../medium/namespace.js";
import type { NamespaceChange } from "./admin-service.js";
import type { Features } from "./features.js";

const CREATE_BYTES = 4096;
/** Of CDW10 of Sanitize Namespace: actions (SANACT), and EMVS. */
const EXIT_FAILURE = 1;
const CRYPTO_ERASE = 4;
const VERIFICATION = 1 << 10;

/** What these commands need of the subsystem. */
export interface NamespaceEvents {
  changed(nsid: number, change: NamespaceChange): void;
  /** Whether another host's reservation forbids this one to write. */
  isReserved(nsid: number): boolean;
}

/** Shape of zoned namespaces that are created by command: the specification leaves it to the controller. */
const defaultZones: ZoneShape = {
  zoneSizeBytes: 16 * UNIT_BYTES,
  zoneCapacityBytes: 16 * UNIT_BYTES,
  maxOpen: 16,
  maxActive: 32,
};

/** Format NVM, Namespace Management, Namespace Attachment. */
export class NamespaceCommands {
  /** @param changed is called for every namespace that came, went or changed */
  constructor(
    private readonly inventory: Inventory,
    private readonly command: Command,
    private readonly transfer: Transfer,
    private readonly features: Features,
    private readonly controllerId: number,
    private readonly subsystem: NamespaceEvents,
  ) {}

  format(): number {
    const { command, inventory } = this;
    const { nsid } = command;
    const cdw10 = command.cdw(10);
    // LBAFL and, above the other fields, LBAFU.
    const index = (cdw10 & 0xf) | (((cdw10 >>> 12) & 3) << 4);
    const extended = (cdw10 & (1 << 4)) !== 0;
    const protection = (cdw10 >>> 5) & 7;
    const protectionFirst = (cdw10 & (1 << 8)) !== 0;
    const erase = (cdw10 >>> 9) & 7;
    if (erase > 1) return NvmeStatus.invalidField;
    const status = this.checkFormat(index, extended, protection);
    if (status !== NvmeStatus.success) return status;
    const targets =
      nsid === BROADCAST_NSID ? inventory.all.filter(({ attached }) => attached) : [inventory.get(nsid)];
    for (const namespace of targets) {
      if (namespace === undefined || !namespace.attached) return NvmeStatus.invalidNamespace;
      if (this.subsystem.isReserved(namespace.nsid)) return NvmeStatus.reservationConflict;
      if (
        (namespace.zones !== undefined || namespace.values !== undefined) &&
        lbaFormats[index]?.metadataBytes !== 0
      )
        return NvmeStatus.invalidFormat;
    }
    for (const namespace of targets) {
      if (namespace === undefined) continue;
      const { record } = namespace;
      const done = inventory.create({
        ...record,
        attached: namespace.attached,
        format: index,
        extended,
        protection,
        protectionFirst,
      });
      this.subsystem.changed(record.nsid, "formatted");
      if (!done) return NvmeStatus.writeFault;
    }
    return NvmeStatus.success;
  }

  /** Sanitize Namespace: a crypto erase, which has happened when the command completes. No failure mode is entered. */
  sanitize(): number {
    const { command, inventory } = this;
    const namespace = inventory.get(command.nsid);
    if (namespace === undefined || !namespace.attached) return NvmeStatus.invalidNamespace;
    if (this.subsystem.isReserved(command.nsid)) return NvmeStatus.reservationConflict;
    const action = command.cdw(10) & 7;
    if (action === EXIT_FAILURE) return NvmeStatus.success;
    if (action !== CRYPTO_ERASE || (command.cdw(10) & VERIFICATION) !== 0) return NvmeStatus.invalidField;
    const done = inventory.create({ ...namespace.record, attached: true });
    this.subsystem.changed(command.nsid, "formatted");
    return done ? NvmeStatus.success : NvmeStatus.writeFault;
  }

  manage(): number {
    switch (this.command.cdw(10) & 0xf) {
      case 0:
        return this.create();
      case 1:
        return this.delete();
      default:
        return NvmeStatus.invalidField;
    }
  }

  attach(): number {
    const { command, inventory } = this;
    const select = command.cdw(10) & 0xf;
    if (select > 1) return NvmeStatus.invalidField;
    const namespace = inventory.get(command.nsid);
    if (namespace === undefined) return NvmeStatus.invalidNamespace;
    const list = new Uint8Array(CREATE_BYTES);
    const status = this.transfer.fetch(command, list);
    if (status !== NvmeStatus.success) return status;
    const view = new DataView(list.buffer);
    if (view.getUint16(0, true) !== 1 || view.getUint16(2, true) !== this.controllerId) {
      return NvmeStatus.controllerListInvalid;
    }
    const attaches = select === 0;
    if (namespace.attached === attaches) {
      return attaches ? NvmeStatus.namespaceAlreadyAttached : NvmeStatus.namespaceNotAttached;
    }
    const done = inventory.attach(command.nsid, attaches);
    this.subsystem.changed(command.nsid, attaches ? "attached" : "removed");
    return done ? NvmeStatus.success : NvmeStatus.writeFault;
  }

  private create(): number {
    const { command, inventory } = this;
    const csi = command.cdw(11) >>> 24;
    const page = new Uint8Array(CREATE_BYTES);
    const status = this.transfer.fetch(command, page);
    if (status !== NvmeStatus.success) return status;
    if (csi !== CommandSet.nvm && csi !== CommandSet.zoned) return NvmeStatus.invalidField;
    const { nsze, ncap, flbas, dps, nmic } = identifyNamespace.decode(page);
    const index = (flbas & 0xf) | (((flbas >> 5) & 3) << 4);
    const extended = (flbas & (1 << 4)) !== 0;
    const checked = this.checkFormat(index, extended, dps & 7);
    if (checked !== NvmeStatus.success) return checked;
    if (nsze !== ncap) return nsze > ncap ? NvmeStatus.thinProvisioningNotSupported : NvmeStatus.invalidField;
    if (nsze === 0n || (nmic & ~1) !== 0) return NvmeStatus.invalidField;
    const format = lbaFormats[index];
    const blockBytes = format?.blockSizeBytes ?? 512;
    // Sizes that a number can't hold exactly are beyond the medium anyway.
    const sizeBytes = Number(nsze) * blockBytes;
    const zones = csi === CommandSet.zoned ? defaultZones : null;
    if (zones !== null) {
      if (format?.metadataBytes !== 0) return NvmeStatus.invalidFormat;
      if (sizeBytes % zones.zoneSizeBytes !== 0) return NvmeStatus.invalidField;
    }
    const startBytes = inventory.findRoom(sizeBytes);
    if (startBytes === undefined) return NvmeStatus.namespaceInsufficientCapacity;
    const nsid = inventory.freeId();
    if (nsid === undefined) return NvmeStatus.namespaceIdentifierUnavailable;
    const record: NamespaceRecord = {
      nsid,
      startBytes,
      sizeBytes,
      format: index,
      extended,
      protection: dps & 7,
      protectionFirst: (dps & (1 << 3)) !== 0,
      zones,
      attached: false,
    };
    const done = inventory.create(record);
    command.dw0 = nsid;
    return done ? NvmeStatus.success : NvmeStatus.writeFault;
  }

  private delete(): number {
    const { command, inventory } = this;
    const { nsid } = command;
    const targets: (EmulatedNamespace | undefined)[] =
      nsid === BROADCAST_NSID ? inventory.all : [inventory.get(nsid)];
    let done = true;
    for (const namespace of targets) {
      if (namespace === undefined) return NvmeStatus.invalidNamespace;
      done = inventory.delete(namespace.nsid) && done;
      this.subsystem.changed(namespace.nsid, "removed");
    }
    return done ? NvmeStatus.success : NvmeStatus.writeFault;
  }

  private checkFormat(index: number, extended: boolean, protection: number): number {
    const format = lbaFormats[index];
    if (format === undefined || protection > 3) return NvmeStatus.invalidFormat;
    if (format.guardBits !== 16 && !this.features.extendedLbaFormats) return NvmeStatus.invalidFormat;
    if (extended && format.metadataBytes === 0) return NvmeStatus.invalidFormat;
    if (protection !== 0 && format.metadataBytes < protectionBytes(format.guardBits)) {
      return NvmeStatus.invalidFormat;
    }
    return NvmeStatus.success;
  }
}
