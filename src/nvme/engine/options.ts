/** Options of a controller, and their checks and defaults. */
import * as z from "zod/mini";
import { ConfigError } from "../../core/errors.js";
import { GivenOptions, integer, number } from "../../core/options.js";
import { DmaSpace } from "../../dma/space.js";
import type { PciOpenOptions } from "../../pci/device.js";
import type { InterruptKind } from "../../pci/interrupts.js";
import { allBackendNames, type BackendName } from "../../pci/open.js";
import { isUuid } from "../../vfio/uuid.js";
import type { VfioUserOptions } from "../../vfio-user/client/options.js";
import { type NvmeQuirkChoice, type NvmeQuirkName, nvmeQuirkNames } from "../quirks/quirks.js";

const DEFAULT_BOUNCE_BYTES = 64 * 1024 * 1024;

/** Weights of WRR: 8-bit fields, zero-based. */
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

const quirksSchema = () => {
  const names = () => z.array(z.enum(nvmeQuirkNames as [NvmeQuirkName, ...NvmeQuirkName[]]));
  const changes = z.strictObject({ add: z.optional(names()), remove: z.optional(names()) });
  return z.union([z.literal("auto"), names(), changes]);
};

const pageSchema = () =>
  integer(4096, 2 ** 27).check(
    z.refine((bytes) => Number.isInteger(Math.log2(bytes)), "must be a power of two"),
  );

/** Options of {@link NvmeController.open}. */
export interface NvmeOptions {
  /**
   * How addresses are translated and the device is accessed. Default: iommufd if it works, else type1. The other backends
   * are only used on request.
   */
  readonly backend?: BackendName | undefined;
  /** An existing DMA space to join, for instance another controller's: see {@link PciOpenOptions.dma}. */
  readonly dma?: DmaSpace | undefined;
  /**
   * Ends {@link NvmeController.open} with the signal's reason; the controller is stopped and closed. No effect on an open
   * controller.
   */
  readonly signal?: AbortSignal | undefined;
  /** How to talk to a server (`vfio-user:PATH`), and whether to reconnect after it has gone (`reconnect`). */
  readonly vfioUser?: VfioUserOptions | undefined;
  /** The secret of a physical function and its virtual functions, a UUID: see {@link PciOpenOptions.vfToken}. */
  readonly vfToken?: string | undefined;
  /** Descriptors that another process opened: see {@link PciOpenOptions.descriptors}. */
  readonly descriptors?: PciOpenOptions["descriptors"];
  /**
   * How the driver notices completions: `interrupt` costs nothing while idle; `poll` polls once per turn of the event loop
   * while commands are outstanding; `adaptive` polls for `spinMicroseconds` after each submission and completion, and then
   * waits for the interrupt. Default: interrupt if the device has any.
   */
  readonly completion?: "interrupt" | "poll" | "adaptive" | undefined;
  /** Polling time of `adaptive`, 50 by default. */
  readonly spinMicroseconds?: number | undefined;
  /**
   * I/O queue pairs to create at the start, or as many as the controller allows. 1 by default. With 0, only admin commands
   * work until `createQueuePair()`.
   */
  readonly queues?: number | undefined;
  /** Entries of an I/O queue, one of which stays empty; at most the controller's limit. 256 (quirk `deep-queues`: 1024) by default. */
  readonly queueEntries?: number | undefined;
  /** Entries of the admin queue, 32 by default. */
  readonly adminQueueEntries?: number | undefined;
  /**
   * Interrupt vectors: the admin queue has the first, the I/O queues share the others in turn. One per queue by default, if
   * the device has enough; all queues share a single one.
   */
  readonly vectors?: number | undefined;
  /** Only this kind of interrupt, e.g. INTx although there is MSI-X. Default: the best that the device has. */
  readonly interruptKind?: InterruptKind | undefined;
  /** Memory page of the controller in bytes (CC.MPS), a power of two. The system's page by default. */
  readonly memoryPageBytes?: number | undefined;
  /**
   * How the controller arbitrates between queues: round robin, or weighted round robin with an urgent class (CC.AMS 1), in
   * which queues have a priority.
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
        /** Commands that the controller fetches from a queue at once: a power of two up to 64; 64: no limit. */
        readonly burst?: number | undefined;
      }
    | undefined;
  /**
   * I/O command sets (CC.CSS): `all` that the controller supports (zoned namespaces need this), `nvm` alone, or none:
   * `admin`. Default: all, if the controller has that choice.
   */
  readonly commandSets?: "nvm" | "all" | "admin" | undefined;
  /**
   * Most bytes of bounce buffers, through which reads and writes of memory outside DMA buffers go. They are mapped when they are
   * needed, and kept. 64 MiB by default; 0: none, so that such memory is refused.
   */
  readonly bounceBytes?: number | undefined;
  /** Time limit of each command in milliseconds. 30,000 by default. */
  readonly timeoutMs?: number | undefined;
  /**
   * Keep Alive Timeout in milliseconds, rounded up to the granularity (KAS). The driver sends Keep Alive commands; without
   * them the controller stops. Left out: no timeout.
   */
  readonly keepAliveMs?: number | undefined;
  /**
   * Doorbells of I/O queues in memory (Doorbell Buffer Config), if the controller supports it. Emulated ones do, to avoid
   * register traps. False by default.
   */
  readonly shadowDoorbells?: boolean | undefined;
  /**
   * After a reset or a recovery, sets all features again that the program had set and not saved, and gives the host memory
   * buffer back, before the I/O queues resume. A timestamp is advanced. True by default.
   */
  readonly restoreFeatures?: boolean | undefined;
  /**
   * Which quirks the controller has: those of the table of known controllers by default. A list is exactly these, `[]` none;
   * `{ add, remove }` changes the table's. `nvme.quirks` tells which there are.
   */
  readonly quirks?: NvmeQuirkChoice | undefined;
  /**
   * What to do when the controller fails, disappears or violates the protocol. Left out: all commands are rejected and the
   * controller stays down. Otherwise the driver resets it up to `attempts` times and creates its queues again; from the
   * second attempt on it waits `delayMs` and also resets the PCI function. New commands wait. Outstanding commands are
   * rejected (`fail`), or submitted again if they change nothing (`reads`), or all are (`all`): then a write may be executed
   * twice. `nvme.lifecycle` reports each step.
   */
  readonly recovery?:
    | {
        /** Most resets to try: 3 by default. */
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

/** @throws ConfigError that names every invalid option */
export function parseNvmeOptions(options: NvmeOptions) {
  const given = new GivenOptions("NVMe options", options);
  const config = {
    backend: given.get("backend", () => z.enum(allBackendNames)),
    dma: given.get("dma", () => z.instanceof(DmaSpace)),
    signal: given.get("signal", () => z.instanceof(AbortSignal)),
    // PciDevice.open() checks it.
    vfioUser: given.get("vfioUser", () =>
      z.custom<VfioUserOptions>((value) => typeof value === "object" && value !== null),
    ),
    descriptors: given.get("descriptors", () =>
      z.custom<NonNullable<PciOpenOptions["descriptors"]>>(
        (value) => typeof value === "object" && value !== null,
      ),
    ),
    vfToken: given.get("vfToken", () =>
      z.string().check(z.refine(isUuid, { error: "must be a UUID", params: { isSecret: true } })),
    ),
    completion: given.get("completion", () => z.enum(["interrupt", "poll", "adaptive"])),
    spinMicroseconds: given.get("spinMicroseconds", () => number(0, 1_000_000)) ?? 50,
    queues: given.get("queues", () => integer(0, 65535)) ?? 1,
    queueEntries: given.get("queueEntries", () => integer(2, 65536)),
    adminQueueEntries: given.get("adminQueueEntries", () => integer(2, 4096)) ?? 32,
    vectors: given.get("vectors", () => integer(1, 2048)),
    interruptKind: given.get("interruptKind", () => z.enum(["msix", "msi", "intx"])),
    memoryPageBytes: given.get("memoryPageBytes", pageSchema),
    arbitration:
      given.get("arbitration", () =>
        typeof options.arbitration === "object" ? weightsSchema() : z.literal("round-robin"),
      ) ?? "round-robin",
    commandSets: given.get("commandSets", () => z.enum(["nvm", "all", "admin"])),
    bounceBytes: given.get("bounceBytes", () => integer(0)) ?? DEFAULT_BOUNCE_BYTES,
    timeoutMs: given.get("timeoutMs", () => number(1, 600_000)) ?? 30_000,
    keepAliveMs: given.get("keepAliveMs", () => integer(100, 3_600_000)),
    shadowDoorbells: given.get("shadowDoorbells", z.boolean) ?? false,
    restoreFeatures: given.get("restoreFeatures", z.boolean) ?? true,
    quirks: given.get("quirks", quirksSchema) ?? ("auto" as const),
    recovery: given.get("recovery", recoverySchema) ?? { attempts: 0, delayMs: 100, retry: "fail" as const },
  };
  given.end();
  if (config.completion === "poll" && config.interruptKind !== undefined) {
    throw new ConfigError(
      "NVMe options: interruptKind: not allowed with completion poll, which uses no interrupts",
    );
  }
  if (config.commandSets !== "admin") return config;
  if (options.queues !== undefined && config.queues > 0) {
    throw new ConfigError("NVMe options: queues: must be 0 with commandSets admin, which has no I/O queues");
  }
  return { ...config, queues: 0 };
}
