/** How a controller may differ from what today's specification asks for, so that drivers can be tested against it. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { integer } from "../../../core/options.js";
import { SQE_BYTES, WIDE_SQE_WORDS } from "../../../nvme/spec/queue-entries.js";

const asciiText = (length: number) =>
  z.string().check(z.regex(/^[ -~]*$/, "must be printable ASCII characters"), z.maxLength(length));

/** Rules of the specification that a controller can break: {@link OddControllerOptions.breaks}. */
export const breakableRules = [
  /** A write to NSSR resets nothing. */
  "subsystem-reset",
  /** A reset by CC.EN leaves features as they were set, as QEMU's controller does. */
  "feature-reset",
  /** A reset by CC.EN clears AQA, ASQ and ACQ. */
  "admin-queue-registers",
  /** INTMS masks nothing. */
  "interrupt-mask",
  /** Events of a type are reported again before their log page is read. */
  "event-mask",
  /** Get Log Page takes every offset for 0. */
  "log-offset",
] as const;
/** A rule of the specification that a controller can break. */
export type BreakableRule = (typeof breakableRules)[number];

/** Schema of {@link OddControllerOptions}, with the values of an ordinary controller as defaults. */
export const odditiesSchema = lazily(() =>
  z.strictObject({
    version: z._default(z.enum(["1.0", "2.0"]), "2.0"),
    readyTimeoutMs: z._default(integer(0, 127_500).check(z.multipleOf(500)), 5000),
    readyWithMediaMs: z.optional(integer(0, 32_767_500).check(z.multipleOf(500))),
    readyDelayMs: z._default(integer(0, 600_000), 0),
    mqes: z.optional(integer(0, 0xffff)),
    doorbellStrideBytes: z._default(
      integer(4, 4 << 15).check(
        z.refine((bytes) => Number.isInteger(Math.log2(bytes)), "must be a power of two"),
      ),
      4,
    ),
    sqes: z._default(integer(0, 0xff), 0x66),
    cqes: z._default(integer(0, 0xff), 0x44),
    vendorId: z._default(integer(0, 0xfffe), 0x494f),
    deviceId: z._default(integer(0, 0xffff), 0x0001),
    model: z._default(asciiText(40), "iova emulated NVMe controller"),
    firmware: z.optional(asciiText(8)),
    sharedIdentifiers: z._default(z.boolean(), false),
    quietMs: z._default(integer(0, 600_000), 0),
    classCode: z._default(integer(0, 0xffffff), 0x010802),
    initMs: z._default(integer(0, 600_000), 0),
    queueDelayMs: z._default(integer(0, 600_000), 0),
    adminEntriesUnit: z._default(integer(1, 4096), 1),
    refusesUrgent: z._default(z.boolean(), false),
    refusedCns: z._default(z.array(integer(0, 0xff)), []),
    oncs: z.optional(integer(0, 0xffff)),
    stripeLog2: z._default(integer(0, 16), 0),
    entryBytes: z._default(z.union([z.literal(SQE_BYTES), z.literal(WIDE_SQE_WORDS * 4)]), SQE_BYTES),
    sharedIds: z._default(z.boolean(), false),
    oneCommand: z._default(z.boolean(), false),
    workingVectors: z._default(integer(1, 256), 256),
    deadMsi: z._default(z.boolean(), false),
    refusesSgl: z._default(z.boolean(), false),
    dmaBits: z._default(integer(32, 64), 64),
    refusedAdmin: z._default(z.array(integer(0, 0xff)), []),
    failsInOwnPowerState: z._default(z.boolean(), false),
    failsInDeepestPowerState: z._default(z.boolean(), false),
    temperatureWarningStays: z._default(z.boolean(), false),
    shallowEntries: z._default(integer(0, 65536), 0),
    shallowDelayMs: z._default(integer(0, 600_000), 10),
    breaks: z._default(z.array(z.enum(breakableRules)), []),
  }),
);

/** Behaviours of old or faulty controllers. Left out, the controller is an ordinary one. */
export interface OddControllerOptions {
  /** NVMe version: `2.0` by default. `1.0` knows only CNS 00h and 01h of Identify. */
  readonly version?: "1.0" | "2.0" | undefined;
  /** What CAP.TO states, in milliseconds: 5000 by default. */
  readonly readyTimeoutMs?: number | undefined;
  /** What CRTO states for Controller Ready With Media, in milliseconds. Left out, the controller has no CRTO. */
  readonly readyWithMediaMs?: number | undefined;
  /** How long CSTS.RDY takes to become 1 after CC.EN, in milliseconds: 0 by default. */
  readonly readyDelayMs?: number | undefined;
  /** CAP.MQES as it is read; `queueEntries` - 1 by default. 0 is forbidden. */
  readonly mqes?: number | undefined;
  /** Bytes between doorbells (CAP.DSTRD): 4 by default. BAR 0 has 4096 bytes of them, whatever that is. */
  readonly doorbellStrideBytes?: number | undefined;
  /** SQES of Identify Controller: 66h by default. */
  readonly sqes?: number | undefined;
  /** CQES of Identify Controller: 44h by default. */
  readonly cqes?: number | undefined;
  /** PCI vendor id. The default belongs to no vendor, so that drivers know no quirks of it. */
  readonly vendorId?: number | undefined;
  /** PCI device id: 1 by default. */
  readonly deviceId?: number | undefined;
  /** Model number (MN), up to 40 ASCII characters. */
  readonly model?: string | undefined;
  /** Firmware revision (FR), up to 8 ASCII characters; that of the active slot by default. */
  readonly firmware?: string | undefined;
  /** Its NQN and the EUI-64 of each of its namespaces are those of every such controller. False by default. */
  readonly sharedIdentifiers?: boolean | undefined;
  /** For so long after CC.EN was cleared, in milliseconds, a read of CSTS makes the controller fail (CFS). 0 by default. */
  readonly quietMs?: number | undefined;
  /** PCI class code: 010802h, an NVMe controller, by default. */
  readonly classCode?: number | undefined;
  /** For so long after power-on, in milliseconds from the first access, enabling it makes it fail (CFS). 0 by default. */
  readonly initMs?: number | undefined;
  /** What a new submission queue gets within this time, in milliseconds, is lost. 0 by default. */
  readonly queueDelayMs?: number | undefined;
  /** The entries of the admin queue must be a multiple of this: 1 by default. */
  readonly adminEntriesUnit?: number | undefined;
  /** Submission queues of urgent priority (0) are refused. False by default. */
  readonly refusesUrgent?: boolean | undefined;
  /** Data structures (CNS) that Identify refuses. None by default. */
  readonly refusedCns?: readonly number[] | undefined;
  /** Optional commands as Identify Controller reports them (ONCS). */
  readonly oncs?: number | undefined;
  /** Stripe as Intel reports it: 2^n pages, which no command may cross; 0 by default: no stripe. */
  readonly stripeLog2?: number | undefined;
  /** Bytes from one entry of an I/O submission queue to the next: 64 by default, or 128, although CC.IOSQES says 64. */
  readonly entryBytes?: 64 | 128 | undefined;
  /**
   * It fails (CFS) when an I/O command has the id of an admin command that is outstanding, or an id beyond its queue. False by
   * default.
   */
  readonly sharedIds?: boolean | undefined;
  /** Two commands that are outstanding together in an I/O queue make it fail (CFS). False by default. */
  readonly oneCommand?: boolean | undefined;
  /** How many interrupt vectors work, from 0 on: interrupts of the others never arrive. All by default. */
  readonly workingVectors?: number | undefined;
  /** It has a vector of MSI, too, whose interrupts never arrive. False by default. */
  readonly deadMsi?: boolean | undefined;
  /** Commands with an SGL are refused, although Identify Controller promises SGLs. False by default. */
  readonly refusesSgl?: boolean | undefined;
  /** Address bits of its DMA: transfers beyond 2^n fail. 64 by default. */
  readonly dmaBits?: number | undefined;
  /** Opcodes of admin commands that it refuses, although Identify Controller promises them. None by default. */
  readonly refusedAdmin?: readonly number[] | undefined;
  /** It fails (CFS) when it enters a power state by itself (Autonomous Power State Transition). False by default. */
  readonly failsInOwnPowerState?: boolean | undefined;
  /** It fails (CFS) when it enters its deepest power state, by Set Features or by itself. False by default. */
  readonly failsInDeepestPowerState?: boolean | undefined;
  /** A temperature threshold that was set, whatever its value, causes a warning that stays until a reset. False by default. */
  readonly temperatureWarningStays?: boolean | undefined;
  /** I/O submission queues with fewer entries are slow: `shallowDelayMs`. 0, so none, by default. */
  readonly shallowEntries?: number | undefined;
  /** By how much a slow queue delays each command, in milliseconds: 10 by default. */
  readonly shallowDelayMs?: number | undefined;
  /** Rules of the specification that it breaks. None by default. */
  readonly breaks?: readonly BreakableRule[] | undefined;
}

/** Oddities with all defaults. */
export type Oddities = z.output<ReturnType<typeof odditiesSchema>>;
