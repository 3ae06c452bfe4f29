/** The interrupts of a controller's queues, and the completion mode. */
import { UnsupportedError } from "../../core/errors.js";
import type { PciDevice } from "../../pci/device.js";
import { type Interrupts, interruptCounts } from "../../pci/interrupts.js";
import { MAX_VECTORS } from "../../vfio/device-io.js";
import type { CompletionMode } from "../queues/completion-watch.js";
import type { ControllerQuirks } from "../quirks/controller-quirks.js";
import { forbiddenBy } from "../quirks/quirks.js";
import type { NvmeConfig } from "./options.js";

/** Interrupt vectors if the device has any and the program doesn't poll. */
export class QueueInterrupts {
  readonly mode: CompletionMode;
  private readonly interrupts: Interrupts | undefined;

  /** @throws UnsupportedError if the device lacks the interrupts that the program asked for, SysError */
  constructor(
    private readonly device: PciDevice,
    config: NvmeConfig,
    quirks: Pick<ControllerQuirks, "has">,
  ) {
    this.interrupts = enable(device, config, quirks);
    this.mode = this.interrupts === undefined ? "poll" : (config.completion ?? "interrupt");
  }

  /** Number of enabled vectors; 0 if the driver polls. */
  get count(): number {
    return this.interrupts?.vectors.length ?? 0;
  }

  /** Calls `reap` at each interrupt. */
  watch(reap: (vector: number) => void): void {
    const { interrupts } = this;
    if (interrupts === undefined) return;
    // An idle controller doesn't keep the process alive. The time limit of an outstanding command does.
    interrupts.vectors.forEach((_, vector) => {
      interrupts.watch(vector, () => reap(vector)).unref();
    });
  }

  /**
   * Disables the interrupt pin if the driver polls. The admin queue always has interrupts enabled, and without vectors it
   * uses the pin. VFIO itself keeps the pin off. A vfio-user server checks the command register; SPDK's server fails if it
   * can't signal.
   */
  quietPin(): void {
    const { device, mode } = this;
    if (mode === "poll" && device.backend === "vfio-user") device.config.interruptDisable = true;
  }
}

function enable(
  device: PciDevice,
  config: NvmeConfig,
  quirks: Pick<ControllerQuirks, "has">,
): Interrupts | undefined {
  const { completion, vectors, queues, interruptKind } = config;
  if (completion === "poll") return undefined;
  let kind = interruptKind;
  if (quirks.has("no-msi")) {
    if (kind === "msi") throw forbiddenBy(device.bdf, "no-msi", "MSI");
    kind ??= interruptCounts(device.io).msix > 0 ? "msix" : "intx";
  }
  const wanted = quirks.has("single-vector") ? 1 : (vectors ?? queues + 1);
  try {
    const interrupts = device.enableInterrupts({ kind, count: Math.min(MAX_VECTORS, wanted) });
    interrupts.relinquish();
    return interrupts;
  } catch (error) {
    const isAsked = completion !== undefined || interruptKind !== undefined;
    if (!isAsked && error instanceof UnsupportedError) return undefined;
    throw error;
  }
}
