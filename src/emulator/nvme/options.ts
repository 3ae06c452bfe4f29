/** Options of the emulated NVMe controller, and their checks. */
import * as z from "zod/mini";
import { ConfigError } from "../../core/errors.js";
import { lazily } from "../../core/lazy.js";
import { integer, number, readOptions } from "../../core/options.js";
import { BOOT_PARTITION_UNIT_BYTES } from "../../nvme/spec/registers.js";
import { MAX_ANA_GROUPS } from "./commands/asymmetric-access.js";
import { MOST_POWER_STATES } from "./commands/power-descriptors.js";
import { type Fault, type FaultOptions, parseFault } from "./faults.js";
import { type CmbUse, cmbUses } from "./host/cmb-rules.js";
import { type OddControllerOptions, odditiesSchema } from "./host/oddities.js";
import { MAX_FIRMWARE_BYTES } from "./medium/firmware-image.js";
import { MAX_NAMESPACES } from "./medium/inventory.js";
import { UNIT_BYTES } from "./medium/layout.js";
import { findLbaFormat, protectionBytes } from "./medium/lba-formats.js";
import type { NamespaceRecord } from "./medium/namespace.js";

/** Queue pairs that fit into BAR0's doorbell page, including the admin queues. */
export const MAX_QUEUE_PAIRS = 512;
const GIB = 2 ** 30;
/** RPMBS.NRPMBU has three bits. */
const MOST_RPMB_TARGETS = 7;
/** Longest time for background work: a day. */
const MOST_WORK_MS = 86_400_000;

const zonesSchema = lazily(() =>
  z.strictObject({
    zoneSizeBytes: z._default(integer(UNIT_BYTES), 16 * UNIT_BYTES),
    zoneCapacityBytes: z.optional(integer(4096)),
    maxOpen: z._default(integer(0, 0xffff), 16),
    maxActive: z._default(integer(0, 0xffff), 32),
  }),
);

const schema = lazily(() =>
  z.strictObject({
    sizeBytes: z._default(integer(UNIT_BYTES, 1024 * GIB), GIB),
    capacityBytes: z.optional(integer(UNIT_BYTES, 1024 * GIB)),
    file: z.optional(z.string().check(z.minLength(1))),
    incoming: z._default(z.boolean(), false),
    namespaces: z._default(integer(0, MAX_NAMESPACES), 1),
    blockSizeBytes: z._default(z.union([z.literal(512), z.literal(4096)]), 512),
    metadataBytes: z._default(z.union([z.literal(0), z.literal(8), z.literal(16), z.literal(64)]), 0),
    extendedMetadata: z._default(z.boolean(), false),
    protection: z._default(integer(0, 3), 0),
    protectionFirst: z._default(z.boolean(), false),
    guardBits: z._default(z.union([z.literal(16), z.literal(64)]), 16),
    zoned: z._default(z.union([z.boolean(), zonesSchema()]), false),
    keyValue: z._default(z.boolean(), false),
    placementHandles: z._default(integer(0, 128), 0),
    cmbBytes: z._default(integer(0, GIB).check(z.multipleOf(4096)), 0),
    cmbWithout: z._default(z.array(z.enum(cmbUses)), []),
    queuePairs: z._default(integer(1, MAX_QUEUE_PAIRS - 1), 64),
    queueEntries: z._default(integer(2, 65536), 4096),
    maxTransferBytes: z._default(integer(4096, 4 << 20), 1 << 20),
    vectors: z._default(integer(0, 256), 65),
    serial: z._default(
      z.string().check(z.regex(/^[ -~]{0,20}$/, "must be up to 20 printable ASCII characters")),
      "IOVA0001",
    ),
    doorbells: z._default(z.enum(["shared", "messages"]), "shared"),
    spinMicroseconds: z._default(number(0, 1_000_000), 50),
    idleAfterMs: z._default(number(0, 60_000), 20),
    idlePollMs: z._default(number(1, 1000), 4),
    shortSelfTestMs: z._default(integer(0, MOST_WORK_MS), 1000),
    extendedSelfTestMs: z._default(integer(0, MOST_WORK_MS), 5000),
    sanitizeMs: z._default(integer(0, MOST_WORK_MS), 1000),
    hostMemoryBytes: z._default(integer(0, GIB).check(z.multipleOf(4096)), 0),
    anaGroups: z._default(integer(0, MAX_ANA_GROUPS), 0),
    powerStates: z._default(integer(1, MOST_POWER_STATES), 1),
    opal: z._default(z.boolean(), false),
    rpmbTargets: z._default(integer(0, MOST_RPMB_TARGETS), 0),
    bootPartitionBytes: z._default(
      integer(0, MAX_FIRMWARE_BYTES).check(z.multipleOf(BOOT_PARTITION_UNIT_BYTES)),
      0,
    ),
    odd: z.prefault(odditiesSchema(), {}),
    faults: z._default(z.array(z.unknown()), []),
  }),
);

/** Options of an emulated NVMe controller. */
export interface NvmeEmulatorOptions {
  /** Bytes of all namespaces together, a multiple of 1 MiB; they share it evenly. 1 GiB by default. */
  readonly sizeBytes?: number | undefined;
  /** Bytes of the medium, including room for namespace management. As `sizeBytes` by default. */
  readonly capacityBytes?: number | undefined;
  /** File for data and namespaces, which is created if it doesn't exist. Memory by default. */
  readonly file?: string | undefined;
  /**
   * The target of a migration: another emulator may use the file until its state arrives, and the controller executes
   * nothing before. No effect without `file`.
   */
  readonly incoming?: boolean | undefined;
  /** How many namespaces there are at first. 1 by default. */
  readonly namespaces?: number | undefined;
  /** 512 by default, or 4096. */
  readonly blockSizeBytes?: 512 | 4096 | undefined;
  /** Metadata per block: 0 by default, 8, 16 or 64. */
  readonly metadataBytes?: 0 | 8 | 16 | 64 | undefined;
  /** Metadata is transferred behind each block's data; by its own pointer by default. */
  readonly extendedMetadata?: boolean | undefined;
  /** End-to-end protection type: 0 by default, which is none; 1 to 3. */
  readonly protection?: number | undefined;
  /** Protection information stands in the first bytes of the metadata; in the last by default. */
  readonly protectionFirst?: boolean | undefined;
  /** Guard of the protection information: 16 bits by default, or 64. */
  readonly guardBits?: 16 | 64 | undefined;
  /** Zoned namespaces; with their shape, or `true` for zones of 16 MiB, 16 open and 32 active. */
  readonly zoned?:
    | boolean
    | {
        /** Length of a zone in bytes, a power of 2; 16 MiB by default. */
        readonly zoneSizeBytes?: number | undefined;
        /** Writable bytes of a zone; all of it by default. */
        readonly zoneCapacityBytes?: number | undefined;
        /** 0 is no limit. */
        readonly maxOpen?: number | undefined;
        /** Zones that can be active at a time, 0 for no limit; 32 by default. */
        readonly maxActive?: number | undefined;
      }
    | undefined;
  /** Namespaces with keys and values instead of blocks. Values are in memory, so not with `file`. */
  readonly keyValue?: boolean | undefined;
  /** Reclaim unit handles that each namespace has for flexible data placement; none by default. */
  readonly placementHandles?: number | undefined;
  /** Controller memory buffer; none by default. */
  readonly cmbBytes?: number | undefined;
  /** Uses of the buffer that fail with Invalid Use of Controller Memory Buffer, by the names of CMBSZ and CMBLOC. */
  readonly cmbWithout?: readonly CmbUse[] | undefined;
  /** I/O queue pairs. 64 by default. */
  readonly queuePairs?: number | undefined;
  /** Entries a queue can have (CAP.MQES + 1). 4096 by default. */
  readonly queueEntries?: number | undefined;
  /** Longest transfer (MDTS), a power of two times 4 KiB. 1 MiB by default. */
  readonly maxTransferBytes?: number | undefined;
  /** MSI-X vectors; 0 leaves INTx. 65 by default. */
  readonly vectors?: number | undefined;
  /** Serial number (SN): up to 20 printable ASCII characters. */
  readonly serial?: string | undefined;
  /**
   * `shared`: clients map the doorbells, and no message is sent per I/O; an idle controller looks for work by a slow
   * timer. `messages`: every doorbell is a message; an idle controller does nothing at all.
   */
  readonly doorbells?: "shared" | "messages" | undefined;
  /** How long one turn of the event loop looks at the queues while there is work. 50 by default. */
  readonly spinMicroseconds?: number | undefined;
  /** Milliseconds without work after which the controller stops spinning. 20 by default. */
  readonly idleAfterMs?: number | undefined;
  /** How often it looks at shared doorbells then, in milliseconds: 4 by default, and after a while a sixth as often. */
  readonly idlePollMs?: number | undefined;
  /** Duration of a short self-test in milliseconds. 1000 by default. */
  readonly shortSelfTestMs?: number | undefined;
  /** Duration of an extended self-test in milliseconds. 5000 by default. */
  readonly extendedSelfTestMs?: number | undefined;
  /** Shortest duration of a sanitize operation in milliseconds. 1000 by default. */
  readonly sanitizeMs?: number | undefined;
  /** Bytes of host memory that the controller asks for (HMPRE), a multiple of 4096. None by default. */
  readonly hostMemoryBytes?: number | undefined;
  /** Groups of asymmetric namespace access; namespaces are assigned in turn. None by default. */
  readonly anaGroups?: number | undefined;
  /**
   * Power states, 1 to 32, of which the second half is non-operational. With two and more the controller also has
   * Autonomous Power State Transition. 1 by default.
   */
  readonly powerStates?: number | undefined;
  /**
   * Targets of the Replay Protected Memory Block, up to 7, of 128 KiB each. With `file`, a file beside it with
   * the suffix `.rpmb` keeps them; they move with a migration. None by default.
   */
  readonly rpmbTargets?: number | undefined;
  /**
   * TCG Opal: ownership, the Locking SP with eight ranges besides the global one, revert. Not with zones or keys. What it keeps is on
   * the medium; off by default.
   */
  readonly opal?: boolean | undefined;
  /**
   * Bytes of each of two boot partitions, a multiple of 128 KiB up to 4 MiB. Firmware Commit writes them. With `file`, a file
   * beside it with the suffix `.boot` keeps them; they move with a migration. None by default.
   */
  readonly bootPartitionBytes?: number | undefined;
  /** Behaviours of old or faulty controllers, for tests of drivers. None by default. */
  readonly odd?: OddControllerOptions | undefined;
  /** Faults that are injected from the start. */
  readonly faults?: readonly FaultOptions[] | undefined;
}

/** Options with all defaults, and the namespaces they make. @internal */
export type NvmeEmulatorConfig = Omit<z.output<ReturnType<typeof schema>>, "faults" | "capacityBytes"> & {
  readonly faults: readonly Fault[];
  readonly capacityBytes: number;
  readonly records: readonly NamespaceRecord[];
};

/** @throws ConfigError naming what is wrong @internal */
export function parseNvmeEmulatorOptions(options: NvmeEmulatorOptions): NvmeEmulatorConfig {
  const data = readOptions("NVMe emulator options", schema(), options);
  const faults = (options.faults ?? []).map(parseFault);
  const capacityBytes = data.capacityBytes ?? data.sizeBytes;
  const records = recordsOf(data, capacityBytes);
  if (data.cmbBytes > 0 && !Number.isInteger(Math.log2(data.cmbBytes)))
    refuse("cmbBytes", `must be a power of two, got ${data.cmbBytes}`);
  for (const name of ["failsInOwnPowerState", "failsInDeepestPowerState"] as const) {
    if (data.odd[name] && data.powerStates === 1)
      refuse(`odd.${name}`, "needs powerStates of 2 or more, but there is one");
  }
  if (!Number.isInteger(Math.log2(data.maxTransferBytes)))
    refuse("maxTransferBytes", `must be a power of two, got ${data.maxTransferBytes}`);
  return { ...data, faults, capacityBytes, records };
}

function refuse(option: string, why: string): never {
  throw new ConfigError(`NVMe emulator options: ${option}: ${why}`);
}

function recordsOf(data: z.output<ReturnType<typeof schema>>, capacityBytes: number): NamespaceRecord[] {
  const { sizeBytes, namespaces, blockSizeBytes, metadataBytes, protection, guardBits, zoned } = data;
  if (sizeBytes % UNIT_BYTES !== 0)
    refuse("sizeBytes", `must be a multiple of ${UNIT_BYTES} (1 MiB), got ${sizeBytes}`);
  if (capacityBytes % UNIT_BYTES !== 0)
    refuse("capacityBytes", `must be a multiple of ${UNIT_BYTES}, got ${capacityBytes}`);
  if (sizeBytes > capacityBytes)
    refuse("capacityBytes", `${capacityBytes} is less than sizeBytes ${sizeBytes}`);
  const format = findLbaFormat(blockSizeBytes, metadataBytes, guardBits);
  if (format < 0) {
    refuse(
      "guardBits",
      `there is no format of ${blockSizeBytes} + ${metadataBytes} bytes with ${guardBits} bits`,
    );
  }
  if (protection !== 0 && metadataBytes < protectionBytes(guardBits)) {
    refuse(
      "protection",
      `needs metadataBytes of ${protectionBytes(guardBits)} or more, got ${metadataBytes}`,
    );
  }
  if (zoned !== false && metadataBytes !== 0)
    refuse("zoned", `zoned namespaces have no metadata, but metadataBytes is ${metadataBytes}`);
  if (data.keyValue && (zoned !== false || metadataBytes !== 0 || data.file !== undefined))
    refuse("keyValue", "key value namespaces have neither zones nor metadata, and no file");
  if (data.opal && (data.keyValue || zoned !== false)) refuse("opal", "locks blocks, not keys or zones");
  if (data.extendedMetadata && metadataBytes === 0)
    refuse("extendedMetadata", "there is no metadata; set metadataBytes");
  const shape = zoned === false ? undefined : z.parse(zonesSchema(), zoned === true ? {} : zoned);
  const unit = shape?.zoneSizeBytes ?? UNIT_BYTES;
  if (!Number.isInteger(Math.log2(unit)))
    refuse("zoned.zoneSizeBytes", `must be a power of two, got ${unit}`);
  const zoneCapacityBytes = shape?.zoneCapacityBytes ?? unit;
  if (zoneCapacityBytes > unit || zoneCapacityBytes % blockSizeBytes !== 0) {
    refuse("zoned.zoneCapacityBytes", "must be whole blocks, and no more than the zone");
  }
  if (shape !== undefined && shape.maxActive !== 0 && shape.maxOpen > shape.maxActive) {
    refuse("zoned.maxOpen", "must not be more than maxActive");
  }
  const each = namespaces === 0 ? 0 : Math.floor(sizeBytes / namespaces / unit) * unit;
  if (namespaces > 0 && each === 0) {
    refuse("sizeBytes", `${sizeBytes} is too little for ${namespaces} namespaces of at least ${unit}`);
  }
  return Array.from({ length: namespaces }, (_, i) => ({
    nsid: i + 1,
    startBytes: i * each,
    sizeBytes: each,
    format,
    extended: data.extendedMetadata,
    protection,
    protectionFirst: data.protectionFirst,
    zones:
      shape === undefined
        ? null
        : {
            zoneSizeBytes: shape.zoneSizeBytes,
            zoneCapacityBytes,
            maxOpen: shape.maxOpen,
            maxActive: shape.maxActive,
          },
    ...(data.keyValue ? { keyValue: true } : {}),
    attached: true,
  }));
}
