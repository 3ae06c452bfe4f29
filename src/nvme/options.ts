import { z } from "zod";
import { DmaSpace } from "../dma/space.js";
import { allBackendNames, type BackendName } from "../pci/backend.js";
import { ConfigError } from "../sys/errors.js";
import { lazily } from "../sys/lazy.js";
import type { VfioUserOptions } from "../vfio-user/options.js";

/** Weights of WRR are 8-bit fields, zero-based. */
const weight = lazily(() => z.int().min(1).max(256).default(1));

const schema = lazily(() =>
  z.strictObject({
    backend: z.enum(allBackendNames).optional(),
    dma: z.instanceof(DmaSpace).optional(),
    // Checked by who takes it, PciDevice.open().
    vfioUser: z.custom<VfioUserOptions>((value) => typeof value === "object" && value !== null).optional(),
    completion: z.enum(["interrupt", "poll", "adaptive"]).optional(),
    spinMicroseconds: z.number().min(0).max(1_000_000).default(50),
    queues: z.int().min(0).max(65535).default(1),
    queueEntries: z.int().min(2).max(65536).default(256),
    adminQueueEntries: z.int().min(2).max(4096).default(32),
    vectors: z.int().min(1).max(2048).optional(),
    memoryPageBytes: z
      .int()
      .min(4096)
      .max(2 ** 27)
      .refine((bytes) => Number.isInteger(Math.log2(bytes)), "must be a power of two")
      .optional(),
    arbitration: z
      .union([
        z.literal("round-robin"),
        z.strictObject({
          low: weight(),
          medium: weight(),
          high: weight(),
          burst: z.int().min(1).max(64).optional(),
        }),
      ])
      .default("round-robin"),
    commandSets: z.enum(["nvm", "all", "admin"]).optional(),
    timeoutMs: z.number().min(1).max(600_000).default(30_000),
    keepAliveMs: z.int().min(100).max(3_600_000).optional(),
    shadowDoorbells: z.boolean().default(false),
    recovery: z
      .strictObject({
        attempts: z.int().min(0).max(1000).default(3),
        delayMs: z.number().min(0).max(60_000).default(100),
        retry: z.enum(["fail", "reads", "all"]).default("fail"),
      })
      .default({ attempts: 0, delayMs: 100, retry: "fail" }),
  }),
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
  /** How to speak to a server (`vfio-user:PATH`), and whether to look for it again when it has gone (`reconnect`). */
  readonly vfioUser?: VfioUserOptions | undefined;
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
        readonly low?: number | undefined;
        readonly medium?: number | undefined;
        readonly high?: number | undefined;
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
   * What to do when the controller breaks down, disappears or breaks the protocol. Left out, all commands are rejected and
   * the controller stays down. Otherwise it is reset up to `attempts` times (3 by default; from the second on with a reset
   * of the PCI function, after `delayMs` that double each time, 100 by default) and its queues are made again; commands
   * meanwhile wait. Those that were outstanding are rejected (`fail`, the default), or sent again where they change nothing
   * (`reads`), or all of them (`all`): then a write may be carried out twice. `nvme.lifecycle` tells.
   */
  readonly recovery?:
    | {
        readonly attempts?: number | undefined;
        readonly delayMs?: number | undefined;
        readonly retry?: "fail" | "reads" | "all" | undefined;
      }
    | undefined;
}

/** Options with all defaults. */
export type NvmeConfig = z.output<ReturnType<typeof schema>>;

/** @throws ConfigError naming every option that is wrong */
export function parseNvmeOptions(options: NvmeOptions): NvmeConfig {
  const result = schema().safeParse(options, { jitless: true });
  if (!result.success) {
    const problems = result.error.issues.map(
      ({ path, message }) => `${path.join(".") || "options"}: ${message}`,
    );
    throw new ConfigError(`NVMe options: ${problems.join("; ")}`, { cause: result.error });
  }
  const { arbitration, commandSets, queues } = result.data;
  if (commandSets === "admin" && options.queues !== undefined && queues > 0) {
    throw new ConfigError("NVMe options: queues: there are none with commandSets admin");
  }
  if (
    arbitration !== "round-robin" &&
    arbitration.burst !== undefined &&
    !Number.isInteger(Math.log2(arbitration.burst))
  ) {
    throw new ConfigError("NVMe options: arbitration.burst: must be a power of two");
  }
  return commandSets === "admin" ? { ...result.data, queues: 0 } : result.data;
}
