import { z } from "zod";
import { DmaSpace } from "../dma/space.js";
import { allBackendNames, type BackendName } from "../pci/backend.js";
import { ConfigError } from "../sys/errors.js";

const schema = z.strictObject({
  backend: z.enum(allBackendNames).optional(),
  dma: z.instanceof(DmaSpace).optional(),
  completion: z.enum(["interrupt", "poll"]).optional(),
  queueEntries: z.int().min(2).max(65536).default(256),
  timeoutMs: z.number().min(1).max(600_000).default(30_000),
});

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
   * How completions are noticed: `interrupt` costs nothing while idle; `poll` looks once per turn of the event loop while
   * commands are outstanding. Left out: interrupt where the device has any.
   */
  readonly completion?: "interrupt" | "poll" | undefined;
  /** Size of the I/O queue in entries, one of which stays empty; clipped to what the controller has. 256 by default. */
  readonly queueEntries?: number | undefined;
  /** Time limit of each command in milliseconds. 30,000 by default. */
  readonly timeoutMs?: number | undefined;
}

/** @throws ConfigError naming every option that is wrong */
export function parseNvmeOptions(options: NvmeOptions): z.output<typeof schema> {
  const result = schema.safeParse(options);
  if (result.success) return result.data;
  const problems = result.error.issues.map(
    ({ path, message }) => `${path.join(".") || "options"}: ${message}`,
  );
  throw new ConfigError(`NVMe options: ${problems.join("; ")}`, { cause: result.error });
}
