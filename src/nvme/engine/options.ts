/** Options of a controller, and their checks and defaults. */
import * as z from "zod/mini";
import { ConfigError } from "../../core/errors.js";
import { GivenOptions, integer, number } from "../../core/options.js";
import { DmaSpace } from "../../dma/space.js";
import type { InterruptKind } from "../../pci/interrupts.js";
import { allBackendNames, type BackendName } from "../../pci/open.js";
import { isUuid } from "../../vfio/uuid.js";
import type { VfioUserOptions } from "../../vfio-user/client/options.js";

/** Weights of WRR are 8-bit fields, zero-based. */
const weight = () => z._default(integer(1, 256), 1);

const weightsSchema = () =>
  z.strictObject({
    low: weight(),
    medium: weight(),
    high: weight(),
    burst: z.optional(
      integer(1, 64).check(z.refine((count) => Number.isInteger(Math.log2(count)), "must be a power of two")),
    ),
  });

const recoverySchema = () =>
  z.strictObject({
    attempts: z._default(integer(0, 1000), 3),
    delayMs: z._default(number(0, 60_000), 100),
    retry: z._default(z.enum(["fail", "reads", "all"]), "fail"),
  });

const pageSchema = () =>
  integer(4096, 2 ** 27).check(
    z.refine((bytes) => Number.isInteger(Math.log2(bytes)), "must be a power of two"),
  );

/** Options of {@link NvmeController.open}. */
export interface NvmeOptions {
  /**
   * How addresses are translated and the device is reached; left out, iommufd where it works, else type1. The others have
   * to be asked for.
   */
  readonly backend?: BackendName | undefined;
  /** A DMA space that exists, for instance another controller's, to be joined: see {@link PciOpenOptions.dma}. */
  readonly dma?: DmaSpace | undefined;
  /**
   * Ends {@link NvmeController.open} with the signal's reason. The controller is stopped and closed. Without effect on a
   * controller that is open.
   */
  readonly signal?: AbortSignal | undefined;
  /** How to speak to a server (`vfio-user:PATH`), and whether to look for it again when it has gone (`reconnect`). */
  readonly vfioUser?: VfioUserOptions | undefined;
  /** The secret of a physical function and its virtual functions, a UUID: see {@link PciOpenOptions.vfToken}. */
  readonly vfToken?: string | undefined;
  /**
   * How completions are noticed: `interrupt` costs nothing while idle; `poll` looks once per turn of the event loop while
   * commands are outstanding; `adaptive` looks for `spinMicroseconds` after something was sent or came, and then waits for
   * the interrupt. Left out: interrupt where the device has any.
   */
  readonly completion?: "interrupt" | "poll" | "adaptive" | undefined;
  /** Of `adaptive`, 50 by default. */
  readonly spinMicroseconds?: number | undefined;
  /**
   * I/O queue pairs made at the start; as many as the controller gives where that is less. 1 by default. With 0 only admin
   * commands work, until `createQueuePair()`.
   */
  readonly queues?: number | undefined;
  /** Size of an I/O queue in entries, one of which stays empty; clipped to what the controller has. 256 by default. */
  readonly queueEntries?: number | undefined;
  /** Size of the admin queue, 32 by default. */
  readonly adminQueueEntries?: number | undefined;
  /**
   * Interrupt vectors wanted: the first is the admin queue's, the others go round the I/O queues. One for each queue by
   * default, as far as the device has them; with a single one all queues share it.
   */
  readonly vectors?: number | undefined;
  /** Only this kind of interrupt: INTx also of a controller that has MSI-X. The best that the device has by default. */
  readonly interruptKind?: InterruptKind | undefined;
  /** Memory page of the controller in bytes (CC.MPS), a power of two. The system's page by default. */
  readonly memoryPageBytes?: number | undefined;
  /**
   * How the controller chooses between queues: by turns, or weighted with an urgent class (CC.AMS 1), where queues have a
   * priority. Weights from 1 to 256; `burst` is how many commands of a queue may be taken at once (a power of two up to 64;
   * 64: no limit).
   */
  readonly arbitration?:
    | "round-robin"
    | {
        /** Weight of queues with low priority, from 1 to 256. */
        readonly low?: number | undefined;
        /** Weight of queues with medium priority, from 1 to 256. */
        readonly medium?: number | undefined;
        /** Weight of queues with high priority, from 1 to 256. */
        readonly high?: number | undefined;
        /** Commands of a queue that may be taken at once: a power of two up to 64, where 64 is no limit. */
        readonly burst?: number | undefined;
      }
    | undefined;
  /**
   * I/O command sets (CC.CSS): `all` that the controller supports (zoned namespaces exist only then), `nvm` alone, or none:
   * `admin`. Left out: all, where the controller has that choice.
   */
  readonly commandSets?: "nvm" | "all" | "admin" | undefined;
  /** Time limit of each command in milliseconds. 30,000 by default. */
  readonly timeoutMs?: number | undefined;
  /**
   * Tells the controller by Keep Alive that we are there, so that it may stop when we aren't: it waits so many milliseconds
   * (rounded up to what it can count, KAS). Left out, it waits for ever.
   */
  readonly keepAliveMs?: number | undefined;
  /**
   * Doorbells of I/O queues in memory (Doorbell Buffer Config), where the controller has that: emulated ones do, to save the
   * trap of a register. False by default.
   */
  readonly shadowDoorbells?: boolean | undefined;
  /**
   * After a reset, on purpose or to recover, sets all features again that the program had set and not saved, and gives the
   * host memory buffer back: before the I/O queues go on. A timestamp goes on where it would stand. True by default.
   */
  readonly restoreFeatures?: boolean | undefined;
  /**
   * What to do when the controller breaks down, disappears or breaks the protocol. Left out, all commands are rejected and
   * the controller stays down. Otherwise it is reset up to `attempts` times (3 by default; from the second on with a reset
   * of the PCI function, after `delayMs` that double each time, 100 by default) and its queues are made again; commands
   * meanwhile wait. Those that were outstanding are rejected (`fail`, the default), or sent again where they change nothing
   * (`reads`), or all of them (`all`): then a write may be carried out twice. `nvme.lifecycle` tells.
   */
  readonly recovery?:
    | {
        /** Resets that are tried: 3 by default. */
        readonly attempts?: number | undefined;
        /** Time before the second attempt in milliseconds, doubled for each further one: 100 by default. */
        readonly delayMs?: number | undefined;
        /** What happens to commands that were outstanding: `fail` by default. */
        readonly retry?: "fail" | "reads" | "all" | undefined;
      }
    | undefined;
}

/** Options with all defaults. */
export type NvmeConfig = ReturnType<typeof parseNvmeOptions>;

/** @throws ConfigError naming every option that is wrong */
export function parseNvmeOptions(options: NvmeOptions) {
  const given = new GivenOptions("NVMe options", options);
  const config = {
    backend: given.get("backend", () => z.enum(allBackendNames)),
    dma: given.get("dma", () => z.instanceof(DmaSpace)),
    signal: given.get("signal", () => z.instanceof(AbortSignal)),
    // Checked by who takes it, PciDevice.open().
    vfioUser: given.get("vfioUser", () =>
      z.custom<VfioUserOptions>((value) => typeof value === "object" && value !== null),
    ),
    vfToken: given.get("vfToken", () => z.string().check(z.refine(isUuid, "must be a UUID"))),
    completion: given.get("completion", () => z.enum(["interrupt", "poll", "adaptive"])),
    spinMicroseconds: given.get("spinMicroseconds", () => number(0, 1_000_000)) ?? 50,
    queues: given.get("queues", () => integer(0, 65535)) ?? 1,
    queueEntries: given.get("queueEntries", () => integer(2, 65536)) ?? 256,
    adminQueueEntries: given.get("adminQueueEntries", () => integer(2, 4096)) ?? 32,
    vectors: given.get("vectors", () => integer(1, 2048)),
    interruptKind: given.get("interruptKind", () => z.enum(["msix", "msi", "intx"])),
    memoryPageBytes: given.get("memoryPageBytes", pageSchema),
    arbitration:
      given.get("arbitration", () =>
        typeof options.arbitration === "object" ? weightsSchema() : z.literal("round-robin"),
      ) ?? "round-robin",
    commandSets: given.get("commandSets", () => z.enum(["nvm", "all", "admin"])),
    timeoutMs: given.get("timeoutMs", () => number(1, 600_000)) ?? 30_000,
    keepAliveMs: given.get("keepAliveMs", () => integer(100, 3_600_000)),
    shadowDoorbells: given.get("shadowDoorbells", z.boolean) ?? false,
    restoreFeatures: given.get("restoreFeatures", z.boolean) ?? true,
    recovery: given.get("recovery", recoverySchema) ?? { attempts: 0, delayMs: 100, retry: "fail" as const },
  };
  given.end();
  if (config.completion === "poll" && config.interruptKind !== undefined) {
    throw new ConfigError("NVMe options: interruptKind: nobody waits for interrupts with completion poll");
  }
  if (config.commandSets !== "admin") return config;
  if (options.queues !== undefined && config.queues > 0) {
    throw new ConfigError("NVMe options: queues: there are none with commandSets admin");
  }
  return { ...config, queues: 0 };
}
