/** The Identify command. */
import {
  IDENTIFY_BYTES,
  type IdentifyController,
  identifyController,
  identifyIndependentNamespace,
  identifyNamespace,
  identifyNvmController,
  identifyNvmNamespace,
} from "../../../nvme/spec/identify.js";
import { identifyKeyValueNamespace, MAX_KEY_BYTES } from "../../../nvme/spec/key-value.js";
import { NamespaceDescriptor } from "../../../nvme/spec/namespace-descriptors.js";
import { BROADCAST_NSID, CommandSet, IdentifyCns } from "../../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../../nvme/spec/status.js";
import { identifyZonedController, identifyZonedNamespace } from "../../../nvme/spec/zoned.js";
import type { Command } from "../host/command.js";
import type { Oddities } from "../host/oddities.js";
import type { Transfer } from "../host/transfer.js";
import { type Inventory, MAX_NAMESPACES } from "../medium/inventory.js";
import { lbaFormats } from "../medium/lba-formats.js";
import type { EmulatedNamespace } from "../medium/namespace.js";
import { REACHABILITY_GROUP } from "../medium/reachability.js";
import { rpmbsOf } from "../medium/rpmb-target.js";
import { MAX_EVENT_REQUESTS } from "../queues/async-events.js";
import { nvmeVersion } from "../queues/registers.js";
import { ANA_CAPABILITIES, ANA_TRANSITION_SECONDS, anaGroupOf } from "./asymmetric-access.js";
import { CRITICAL_TEMPERATURE, WARNING_TEMPERATURE } from "./features.js";
import { FIRMWARE_ACTIVATION_TIME, FIRMWARE_GRANULARITY, FIRMWARE_UPDATES, Firmware } from "./firmware.js";
import { HOST_MEMORY_DESCRIPTORS, HOST_MEMORY_MINIMUM } from "./host-memory-cache.js";
import { COPY_FORMATS, copyLimits } from "./io/copy.js";
import { RESERVATION_CAPABILITIES } from "./io/reservations.js";
import { powerDescriptors } from "./power-descriptors.js";
import { SANITIZE_CAPABILITIES } from "./sanitize.js";

/** Entries of the Error Information log. */
export const ERROR_LOG_ENTRIES = 64;
/** Abort commands outstanding at most, zero-based: they are executed at once. */
const ABORT_LIMIT = 3;
/** Keep Alive granularity, in 100 ms. */
const KEEP_ALIVE_UNITS = 10;

const OACS = {
  format: 1 << 1,
  firmware: 1 << 2,
  namespaceManagement: 1 << 3,
  deviceSelfTest: 1 << 4,
  doorbellBufferConfig: 1 << 8,
  security: 1 << 0,
  lockdown: 1 << 10,
  nvmeMi: 1 << 6,
  getLbaStatus: 1 << 9,
} as const;
/** BPCAP: whether RPMB or Set Features locks boot partitions; both at once is discouraged. */
const BPCAP = { withoutRpmb: 1 | (1 << 2), withRpmb: 2 } as const;
/** DSTO: one self-test at a time. */
const DSTO = 1;
const MINUTE_MS = 60_000;
const ONCS = {
  compare: 1 << 0,
  writeUncorrectable: 1 << 1,
  datasetManagement: 1 << 2,
  writeZeroes: 1 << 3,
  saveFeatures: 1 << 4,
  timestamp: 1 << 6,
  reservations: 1 << 5,
  verify: 1 << 7,
  copy: 1 << 8,
} as const;
/** CTRATT: Host Identifiers of 128 bits; endurance groups. */
const CTRATT_HOST_ID_128 = 1 << 0;
const CTRATT_ENDURANCE_GROUPS = 1 << 4;
/** The only one: the whole medium. */
export const ENDURANCE_GROUP = 1;
/** CMIC: several controllers; asymmetric namespace access. */
const CMIC_CONTROLLERS = 1 << 1;
const CMIC_ACCESS = 1 << 3;
/** CTRATT: extended LBA formats, which the host enables by Host Behavior Support. */
const CTRATT_EXTENDED_LBA_FORMATS = 1 << 15;
/** The same: flexible data placement. */
const CTRATT_PLACEMENT = 1 << 19;
/** CRCAP: the reachability logs. */
const REACHABILITY_REPORTED = 1;
/** NMIC: several controllers reach the namespace. */
const NMIC_SHARED = 1;
/** FUSES: Compare and Write. */
const FUSES = 1;
const OAES = { namespaceAttributes: 1 << 8, firmwareActivation: 1 << 9, access: 1 << 11 } as const;
const LPA = { smartPerNamespace: 0, effects: 1 << 1, extendedData: 1 << 2, telemetry: 1 << 3 } as const;
/** SGLS: supported, of any alignment; bit buckets; longer than the data; metadata by its own SGL. */
const SGLS = 1 | (1 << 16) | (1 << 18) | (1 << 19);
/** DLFEAT: deallocated blocks read as zeros; Write Zeroes deallocates. */
const DLFEAT = 1 | (1 << 3);
/** MC: as part of the data, and by a pointer of its own. */
const METADATA_CAPABILITIES = 3;
/** DPC: types 1 to 3, in the first and in the last bytes. */
const PROTECTION_CAPABILITIES = 0x1f;

/** Options of the controller that Identify reports. */
export interface ControllerIdentity {
  readonly serial: string;
  readonly maxTransferBytes: number;
  readonly capacityBytes: number;
  readonly placementHandles: number;
  readonly extendedSelfTestMs: number;
  readonly hostMemoryBytes: number;
  readonly anaGroups: number;
  readonly powerStates: number;
  readonly rpmbTargets: number;
  readonly bootPartitionBytes: number;
  readonly keyValue: boolean;
  readonly odd: Oddities;
}

/** Identifiers of the controllers of a subsystem. */
export interface ControllerIds {
  /** This controller's. */
  readonly id: number;
  all(): readonly number[];
}

/** The Identify command: all data structures of a controller with NVM and zoned namespaces. */
export class Identify {
  constructor(
    private readonly identity: ControllerIdentity,
    private readonly inventory: Inventory,
    private readonly command: Command,
    private readonly transfer: Transfer,
    private readonly controllerIds: ControllerIds,
  ) {}

  execute(): number {
    const { command } = this;
    const page = this.page(
      command.cdw(10) & 0xff,
      command.nsid,
      command.cdw(11) >>> 24,
      command.cdw(10) >>> 16,
    );
    return typeof page === "number" ? page : this.transfer.send(command, page);
  }

  private page(cns: number, nsid: number, csi: number, controllerId: number): Uint8Array | number {
    if (this.identity.odd.version === "1.0" && cns > IdentifyCns.controller) return NvmeStatus.invalidField;
    if (this.identity.odd.refusedCns.includes(cns)) return NvmeStatus.invalidField;
    switch (cns) {
      case IdentifyCns.namespace:
        if (nsid === BROADCAST_NSID) return this.common();
        if (this.hasValues(nsid)) return NvmeStatus.invalidIoCommandSet;
        return this.describe(nsid, true, (namespace) => this.namespace(namespace));
      case IdentifyCns.allocatedNamespace:
        if (this.hasValues(nsid)) return NvmeStatus.invalidIoCommandSet;
        return this.describe(nsid, false, (namespace) => this.namespace(namespace));
      case IdentifyCns.controller:
        return this.controller();
      case IdentifyCns.activeNamespaces:
        return this.list(nsid, ({ attached }) => attached);
      case IdentifyCns.activeNamespacesForCommandSet:
        if (!this.isKnownSet(csi)) return NvmeStatus.invalidField;
        return this.list(nsid, (namespace) => namespace.attached && namespace.csi === csi);
      case IdentifyCns.allocatedNamespaces:
        return this.list(nsid, () => true);
      case IdentifyCns.allocatedNamespacesForCommandSet:
        if (!this.isKnownSet(csi)) return NvmeStatus.invalidField;
        return this.list(nsid, (namespace) => namespace.csi === csi);
      case IdentifyCns.namespaceDescriptors: {
        const namespace = this.inventory.get(nsid);
        return namespace?.attached === true
          ? descriptors(namespace, this.eui64(nsid))
          : NvmeStatus.invalidNamespace;
      }
      case IdentifyCns.namespaceForCommandSet:
        return this.ofCommandSet(nsid, csi, true);
      case IdentifyCns.allocatedNamespaceForCommandSet:
        return this.ofCommandSet(nsid, csi, false);
      case IdentifyCns.controllerForCommandSet:
        return this.controllerOf(csi);
      case IdentifyCns.namespaceIndependent:
        return this.describe(nsid, true, () =>
          identifyIndependentNamespace.encode({
            nstat: 1,
            nmic: this.isShared ? NMIC_SHARED : 0,
            rescap: RESERVATION_CAPABILITIES,
            anagrpid: anaGroupOf(nsid, this.identity.anaGroups),
            endgid: ENDURANCE_GROUP,
            rgrpid: REACHABILITY_GROUP,
          }),
        );
      case IdentifyCns.enduranceGroups: {
        const page = new Uint16Array(IDENTIFY_BYTES / 2);
        if ((this.command.cdw(11) & 0xffff) <= ENDURANCE_GROUP) page.set([1, ENDURANCE_GROUP]);
        return new Uint8Array(page.buffer);
      }
      case IdentifyCns.controllersOfNamespace: {
        const namespace = this.inventory.get(nsid);
        if (namespace === undefined) return NvmeStatus.invalidNamespace;
        return this.controllers(controllerId, namespace.attached);
      }
      case IdentifyCns.controllers:
        return this.controllers(controllerId, true);
      case IdentifyCns.commandSets: {
        // One combination: all that there are, together.
        if (controllerId !== this.controllerIds.id && controllerId !== 0xffff) return NvmeStatus.invalidField;
        const page = new Uint8Array(IDENTIFY_BYTES);
        page[0] =
          (1 << CommandSet.nvm) |
          (1 << CommandSet.zoned) |
          (this.identity.keyValue ? 1 << CommandSet.keyValue : 0);
        return page;
      }
      default:
        return NvmeStatus.invalidField;
    }
  }

  /** A page about one namespace; zeros for an id that is valid but not active. */
  private describe(
    nsid: number,
    active: boolean,
    page: (namespace: EmulatedNamespace) => Uint8Array,
  ): Uint8Array | number {
    if (nsid === 0 || nsid > MAX_NAMESPACES) return NvmeStatus.invalidNamespace;
    const namespace = this.inventory.get(nsid);
    if (namespace === undefined || (active && !namespace.attached)) return new Uint8Array(IDENTIFY_BYTES);
    return page(namespace);
  }

  private ofCommandSet(nsid: number, csi: number, active: boolean): Uint8Array | number {
    if (!this.isKnownSet(csi)) return NvmeStatus.invalidIoCommandSet;
    // For NVM, all namespaces' capabilities can be asked for at once.
    if (csi === CommandSet.nvm && nsid === BROADCAST_NSID) return nvmNamespace();
    const namespace = this.inventory.get(nsid);
    if (namespace?.attached === true && namespace.csi !== csi && csi !== CommandSet.nvm)
      return NvmeStatus.invalidIoCommandSet;
    return this.describe(nsid, active, () => {
      if (csi === CommandSet.keyValue) return this.keyValueNamespace(namespace);
      return csi === CommandSet.nvm ? nvmNamespace() : zonedNamespace(namespace);
    });
  }

  private controllerOf(csi: number): Uint8Array | number {
    switch (csi) {
      case CommandSet.nvm:
        return identifyNvmController.encode({
          vsl: log2Pages(this.identity.maxTransferBytes),
          dmrl: 255,
        });
      case CommandSet.zoned:
        return identifyZonedController.encode({ zasl: 0 });
      default:
        return NvmeStatus.invalidField;
    }
  }

  private controller(): Uint8Array {
    const { identity, inventory } = this;
    return identifyController.encode({
      vid: identity.odd.vendorId,
      ssvid: identity.odd.vendorId,
      sn: identity.serial,
      mn: identity.odd.model,
      fr: identity.odd.firmware ?? Firmware.revision(inventory),
      rab: 0,
      mdts: log2Pages(identity.maxTransferBytes),
      cntlid: this.controllerIds.id,
      ver: identity.odd.version === "1.0" ? 0 : nvmeVersion(identity.odd),
      oaes: OAES.namespaceAttributes | OAES.firmwareActivation | (identity.anaGroups > 0 ? OAES.access : 0),
      ...asymmetricAccess(identity.anaGroups),
      cmic: (identity.anaGroups > 0 ? CMIC_ACCESS : 0) | (this.isShared ? CMIC_CONTROLLERS : 0),
      endgidmax: ENDURANCE_GROUP,
      crcap: REACHABILITY_REPORTED,
      ctratt:
        CTRATT_HOST_ID_128 |
        CTRATT_ENDURANCE_GROUPS |
        CTRATT_EXTENDED_LBA_FORMATS |
        (identity.placementHandles > 0 ? CTRATT_PLACEMENT : 0),
      cntrltype: 1,
      oacs:
        OACS.security |
        OACS.format |
        OACS.firmware |
        OACS.namespaceManagement |
        OACS.deviceSelfTest |
        OACS.doorbellBufferConfig |
        OACS.nvmeMi |
        OACS.getLbaStatus |
        OACS.lockdown,
      acl: ABORT_LIMIT,
      aerl: MAX_EVENT_REQUESTS - 1,
      frmw: FIRMWARE_UPDATES,
      fwug: FIRMWARE_GRANULARITY,
      mtfa: FIRMWARE_ACTIVATION_TIME,
      ...hostMemory(identity.hostMemoryBytes),
      sanicap: SANITIZE_CAPABILITIES,
      lpa: LPA.smartPerNamespace | LPA.effects | LPA.extendedData | LPA.telemetry,
      elpe: ERROR_LOG_ENTRIES - 1,
      npss: identity.powerStates - 1,
      apsta: identity.powerStates > 1 ? 1 : 0,
      wctemp: WARNING_TEMPERATURE,
      cctemp: CRITICAL_TEMPERATURE,
      tnvmcap: BigInt(identity.capacityBytes),
      unvmcap: BigInt(Math.max(0, inventory.unallocatedBytes)),
      edstt: Math.ceil(identity.extendedSelfTestMs / MINUTE_MS),
      dsto: DSTO,
      rpmbs: rpmbsOf(identity.rpmbTargets),
      bpcap:
        identity.bootPartitionBytes === 0 ? 0 : identity.rpmbTargets > 0 ? BPCAP.withRpmb : BPCAP.withoutRpmb,
      kas: KEEP_ALIVE_UNITS,
      sqes: identity.odd.sqes,
      cqes: identity.odd.cqes,
      nn: MAX_NAMESPACES,
      oncs:
        identity.odd.oncs ??
        ONCS.compare |
          ONCS.writeUncorrectable |
          ONCS.datasetManagement |
          ONCS.writeZeroes |
          ONCS.saveFeatures |
          ONCS.reservations |
          ONCS.timestamp |
          ONCS.verify |
          ONCS.copy,
      fuses: FUSES,
      // A volatile write cache; Flush takes the broadcast id.
      vwc: 1 | (3 << 1),
      ocfs: COPY_FORMATS,
      sgls: SGLS,
      mnan: 0,
      subnqn: identity.odd.sharedIdentifiers
        ? "nqn.2026-01.org.iova:emulated"
        : `nqn.2026-01.org.iova:emulated:${identity.serial.trim()}`,
      vs: stripe(identity.odd.stripeLog2),
      psd: powerDescriptors(identity.powerStates),
    });
  }

  /** A list of the subsystem's controllers from an id on. */
  private controllers(first: number, has: boolean): Uint8Array {
    const ids = has ? this.controllerIds.all().filter((id) => id >= first) : [];
    const page = new Uint16Array(IDENTIFY_BYTES / 2);
    page.set([ids.length, ...ids.slice(0, page.length - 1)]);
    return new Uint8Array(page.buffer);
  }

  /** Whether the subsystem has several controllers, all of which reach all namespaces. */
  private get isShared(): boolean {
    return this.controllerIds.all().length > 1;
  }

  private isKnownSet(csi: number): boolean {
    return (
      csi === CommandSet.nvm ||
      csi === CommandSet.zoned ||
      (csi === CommandSet.keyValue && this.identity.keyValue)
    );
  }

  /** Whether a namespace has keys and values instead of blocks. */
  private hasValues(nsid: number): boolean {
    return this.inventory.get(nsid)?.values !== undefined;
  }

  private keyValueNamespace(namespace: EmulatedNamespace | undefined): Uint8Array {
    const { values, nsid = 0 } = namespace ?? {};
    if (values === undefined) return new Uint8Array(IDENTIFY_BYTES);
    return identifyKeyValueNamespace.encode({
      nsze: BigInt(values.sizeBytes),
      nuse: BigInt(values.usedBytes),
      rescap: RESERVATION_CAPABILITIES,
      endgid: ENDURANCE_GROUP,
      anagrpid: anaGroupOf(nsid, this.identity.anaGroups),
      eui64: this.eui64(nsid),
      // NKVF is zero-based.
      nkvf: 0,
      kvf: [{ kml: MAX_KEY_BYTES, fopt: 0, vml: this.identity.maxTransferBytes, mnk: 0 }],
    });
  }

  /** CNS 00h for all namespaces: what they have in common. */
  private common(): Uint8Array {
    return identifyNamespace.encode({
      ...formatFields,
      mc: METADATA_CAPABILITIES,
      dpc: PROTECTION_CAPABILITIES,
      dlfeat: DLFEAT,
    });
  }

  private namespace(namespace: EmulatedNamespace): Uint8Array {
    const { record, sizeBlocks } = namespace;
    const blocks = BigInt(sizeBlocks);
    return identifyNamespace.encode({
      ...formatFields,
      nsze: blocks,
      ncap: blocks,
      nuse: blocks,
      flbas: (record.format & 0xf) | (record.extended ? 1 << 4 : 0),
      mc: METADATA_CAPABILITIES,
      dpc: PROTECTION_CAPABILITIES,
      nmic: this.isShared ? NMIC_SHARED : 0,
      dps: record.protection | (record.protectionFirst ? 1 << 3 : 0),
      rescap: RESERVATION_CAPABILITIES,
      dlfeat: DLFEAT,
      nvmcap: BigInt(record.sizeBytes),
      mssrl: copyLimits.blocksPerRange,
      mcl: copyLimits.blocks,
      msrc: copyLimits.ranges - 1,
      eui64: this.eui64(record.nsid),
      anagrpid: anaGroupOf(record.nsid, this.identity.anaGroups),
      endgid: ENDURANCE_GROUP,
    });
  }

  /** Locally administered, and the same whenever serial number and id are, if the controller isn't odd. */
  private eui64(nsid: number): Uint8Array {
    const eui = new Uint8Array(8);
    eui[0] = 0x02;
    if (this.identity.odd.sharedIdentifiers) return eui;
    const serial = Buffer.from(this.identity.serial.trim(), "latin1");
    for (const [i, byte] of serial.entries()) {
      const at = 1 + (i % 5);
      eui[at] = (((eui[at] ?? 0) * 31) & 0xff) ^ byte;
    }
    eui[6] = nsid >>> 8;
    eui[7] = nsid & 0xff;
    return eui;
  }

  private list(after: number, has: (namespace: EmulatedNamespace) => boolean): Uint8Array | number {
    // "FFFFFFFEh and FFFFFFFFh are invalid."
    if (after >= BROADCAST_NSID - 1) return NvmeStatus.invalidNamespace;
    const page = new Uint32Array(IDENTIFY_BYTES / 4);
    const ids = this.inventory.all.filter((one) => one.nsid > after && has(one)).map(({ nsid }) => nsid);
    page.set(ids.slice(0, page.length));
    return new Uint8Array(page.buffer);
  }
}

/** The vendor's part as Intel fills it. */
function stripe(log2: number): Uint8Array {
  const vs = new Uint8Array(1024);
  vs[3] = log2;
  return vs;
}

/** CMIC, ANATT, ANACAP, ANAGRPMAX and NANAGRPID. */
function asymmetricAccess(groups: number): Partial<IdentifyController> {
  if (groups === 0) return {};
  return {
    anatt: ANA_TRANSITION_SECONDS,
    anacap: ANA_CAPABILITIES,
    anagrpmax: groups,
    nanagrpid: groups,
  };
}

/** HMPRE, HMMIN, HMMINDS and HMMAXD. */
function hostMemory(preferredBytes: number): Partial<IdentifyController> {
  if (preferredBytes === 0) return {};
  const hmpre = preferredBytes / 4096;
  return {
    hmpre,
    hmmin: Math.min(hmpre, HOST_MEMORY_MINIMUM),
    hmminds: 1,
    hmmaxd: HOST_MEMORY_DESCRIPTORS,
  };
}

const formatFields = {
  nlbaf: lbaFormats.length - 1,
  lbaf: lbaFormats.map(({ metadataBytes, blockSizeBytes, relativePerformance }) => ({
    metadataBytes,
    blockSizeBytes,
    relativePerformance,
  })),
};

function log2Pages(bytes: number): number {
  return Math.log2(bytes / 4096);
}

function nvmNamespace(): Uint8Array {
  return identifyNvmNamespace.encode({
    lbstm: 0n,
    // PIC: 16-bit guard with metadata of any kind.
    pic: 0,
    elbaf: lbaFormats.map(({ storageTagBits, guardBits }) => ({ storageTagBits, guardBits })),
  });
}

function zonedNamespace(namespace: EmulatedNamespace | undefined): Uint8Array {
  const geometry = namespace?.zones?.geometry;
  const shape = namespace?.record.zones;
  const unlimited = 0xffff_ffff;
  if (geometry === undefined || shape === null || shape === undefined) return new Uint8Array(IDENTIFY_BYTES);
  return identifyZonedNamespace.encode({
    // OZCS: reads may cross zones.
    ozcs: 1,
    mar: geometry.maxActive === 0 ? unlimited : geometry.maxActive - 1,
    mor: geometry.maxOpen === 0 ? unlimited : geometry.maxOpen - 1,
    lbafe: lbaFormats.map(({ blockSizeBytes, metadataBytes }) => ({
      zoneSizeBlocks: metadataBytes === 0 ? BigInt(shape.zoneSizeBytes / blockSizeBytes) : 0n,
      extensionBytes: 0,
    })),
  });
}

function descriptors(namespace: EmulatedNamespace, eui64: Uint8Array): Uint8Array {
  const page = new Uint8Array(IDENTIFY_BYTES);
  let at = 0;
  const add = ({ type, bytes }: { type: number; bytes: number }, value: Uint8Array): void => {
    page[at] = type;
    page[at + 1] = bytes;
    page.set(value, at + 4);
    at += 4 + bytes;
  };
  add(NamespaceDescriptor.eui64, eui64);
  add(NamespaceDescriptor.commandSet, Uint8Array.of(namespace.csi));
  return page;
}
