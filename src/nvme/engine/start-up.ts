/** Plans CC from the options, and checks that the controller (CAP) supports them. */
import { UnsupportedError } from "../../core/errors.js";
import { PAGE_SIZE } from "../../sys/syscalls.js";
import type { ControllerQuirks } from "../quirks/controller-quirks.js";
import { BURST_UNLIMITED } from "../spec/features.js";
import type { IdentifyController } from "../spec/identify.js";
import { FeatureId } from "../spec/opcodes.js";
import { IOCQES, IOSQES, SQE_WORDS, WIDE_SQE_WORDS } from "../spec/queue-entries.js";
import {
  AMS_WEIGHTED,
  ArbitrationMechanism,
  type Capabilities,
  CommandSetSelection,
  CommandSetSupport,
  ControllerConfig,
} from "../spec/registers.js";
import type { NvmeConfig } from "./options.js";

/** Entries of an I/O queue if the program doesn't say. */
const QUEUE_ENTRIES = 256;
/** The same with the quirk `deep-queues`. */
const DEEP_QUEUE_ENTRIES = 1024;
/** Quirk `mqes-0-is-63`. */
const ENTRIES_WITHOUT_MQES = 64;
/** Quirk `one-command`: one entry stays empty. */
const ENTRIES_FOR_ONE = 2;
/** Quirk `admin-queue-64`: entries in a page. */
const ENTRIES_PER_PAGE = 64;

type Quirks = Pick<ControllerQuirks, "has">;

/** Entries of an I/O queue if the program doesn't say; the controller may support fewer. */
export function defaultQueueEntries(quirks: Quirks): number {
  return quirks.has("deep-queues") ? DEEP_QUEUE_ENTRIES : QUEUE_ENTRIES;
}

/** Most entries of an I/O queue. */
export function maxQueueEntries({ maxQueueEntries: stated }: Capabilities, quirks: Quirks): number {
  if (quirks.has("one-command")) return ENTRIES_FOR_ONE;
  return stated < 2 && quirks.has("mqes-0-is-63") ? ENTRIES_WITHOUT_MQES : stated;
}

/** From one entry of an I/O submission queue to the next, in 32-bit words. */
export function submissionEntryWords(quirks: Quirks): number {
  return quirks.has("entries-128-bytes") ? WIDE_SQE_WORDS : SQE_WORDS;
}

/** First id of a queue's commands, where ids are shared; undefined where each queue has its own. */
export function firstCommandId(queueId: number, config: NvmeConfig, quirks: Quirks): number | undefined {
  if (!quirks.has("shared-command-ids")) return undefined;
  return queueId === 0 ? 0 : adminEntries(config, quirks);
}

/** Entries of the admin queue. */
export function adminEntries({ adminQueueEntries }: NvmeConfig, quirks: Quirks): number {
  if (!quirks.has("admin-queue-64")) return adminQueueEntries;
  return Math.ceil(adminQueueEntries / ENTRIES_PER_PAGE) * ENTRIES_PER_PAGE;
}

/** The planned configuration. */
export interface StartUp {
  /** CC without EN. */
  readonly cc: number;
  /** CC.MPS in bytes. */
  readonly pageBytes: number;
  /** Queues have a priority. */
  readonly weighted: boolean;
  /** There are no I/O queues. */
  readonly adminOnly: boolean;
}

/** @throws UnsupportedError that names what the controller lacks */
export function planStartUp(name: string, capabilities: Capabilities, config: NvmeConfig): StartUp {
  const pageBytes = pageSize(name, capabilities, config.memoryPageBytes);
  const css = commandSets(name, capabilities, config.commandSets);
  const weighted = config.arbitration !== "round-robin";
  if (weighted && (capabilities.ams & AMS_WEIGHTED) === 0) {
    throw new UnsupportedError(`${name} has no weighted arbitration (CAP.AMS ${capabilities.ams})`);
  }
  const ams = weighted ? ArbitrationMechanism.weighted : ArbitrationMechanism.roundRobin;
  const cc =
    (css << ControllerConfig.CSS_SHIFT) |
    ((Math.log2(pageBytes) - 12) << ControllerConfig.MPS_SHIFT) |
    (ams << ControllerConfig.AMS_SHIFT) |
    (IOSQES << ControllerConfig.IOSQES_SHIFT) |
    (IOCQES << ControllerConfig.IOCQES_SHIFT) |
    // Ready with media, if the controller has the choice: commands don't fail because media aren't ready.
    (capabilities.crims && !capabilities.crwms ? ControllerConfig.CRIME : 0);
  return { cc, pageBytes, weighted, adminOnly: css === CommandSetSelection.adminOnly };
}

/**
 * Checks that the controller supports I/O queue entries of 64 and 16 bytes. SQES and CQES of Identify Controller hold the
 * smallest size in bits 3:0 and the largest in bits 7:4, as powers of two.
 * @throws UnsupportedError
 */
export function assertEntrySizes(
  name: string,
  { sqes, cqes }: Pick<IdentifyController, "sqes" | "cqes">,
): void {
  const sizes = [
    ["submission queue", sqes, IOSQES],
    ["completion queue", cqes, IOCQES],
  ] as const;
  for (const [what, value, log2] of sizes) {
    const smallest = value & 0xf;
    const largest = value >>> 4;
    // Some controllers report 0 as the largest size.
    if (smallest <= log2 && (largest >= log2 || largest === 0)) continue;
    throw new UnsupportedError(
      `${name} has ${what} entries of ${2 ** smallest} to ${2 ** largest} bytes, and this driver writes ${2 ** log2}`,
    );
  }
}

/** Set Features (Arbitration) for these weights, which take effect at once. */
export function arbitrationFeature({ arbitration }: NvmeConfig): { fid: number; value: number } | undefined {
  if (arbitration === "round-robin") return undefined;
  const { low, medium, high, burst } = arbitration;
  const ab = burst === undefined || burst === 64 ? BURST_UNLIMITED : Math.log2(burst);
  const value = (((high - 1) << 24) | ((medium - 1) << 16) | ((low - 1) << 8) | ab) >>> 0;
  return { fid: FeatureId.arbitration, value };
}

function pageSize(name: string, { minPageBytes, maxPageBytes }: Capabilities, asked?: number): number {
  if (asked === undefined) return Math.max(minPageBytes, Math.min(PAGE_SIZE, maxPageBytes));
  if (asked < minPageBytes || asked > maxPageBytes) {
    throw new UnsupportedError(
      `${name} has memory pages of ${minPageBytes} to ${maxPageBytes} bytes, not ${asked}`,
    );
  }
  return asked;
}

function commandSets(name: string, { css }: Capabilities, asked: NvmeConfig["commandSets"]): number {
  const has = (bit: number): boolean => (css & bit) !== 0;
  const refuse = (): never => {
    throw new UnsupportedError(
      `${name} has no ${asked === undefined ? "I/O command set" : `choice of command sets "${asked}"`} (CAP.CSS ${css})`,
    );
  };
  switch (asked) {
    case "nvm":
      return has(CommandSetSupport.nvm) ? CommandSetSelection.nvm : refuse();
    case "all":
      return has(CommandSetSupport.allSupported) ? CommandSetSelection.allSupported : refuse();
    case "admin":
      // Without that choice, the driver just creates no I/O queues.
      if (has(CommandSetSupport.adminOnly)) return CommandSetSelection.adminOnly;
      return has(CommandSetSupport.nvm) ? CommandSetSelection.nvm : CommandSetSelection.allSupported;
    default:
      if (has(CommandSetSupport.allSupported)) return CommandSetSelection.allSupported;
      return has(CommandSetSupport.nvm) ? CommandSetSelection.nvm : refuse();
  }
}
