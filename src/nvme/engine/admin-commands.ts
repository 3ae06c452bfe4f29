/** Admin commands of a controller, from the program and from the driver. */
import type { DmaSpace } from "../../dma/space.js";
import { adminWrite } from "../command/admin-target.js";
import { checkCommand } from "../command/check-command.js";
import type { NvmeCommand, NvmeCompletion } from "../command/command.js";
import { type CommandOptions, checkCommandOptions } from "../command/command-options.js";
import type { DataRules } from "../command/data-pointer.js";
import type { NvmeError } from "../command/error.js";
import type { QueuePair } from "../queues/queue-pair.js";
import { FID_MASK } from "../spec/features.js";
import { AdminOpcode } from "../spec/opcodes.js";
import { KeptFeatures, type SetFeature } from "./feature-restore.js";

/** Checks and submits admin commands, and remembers the features that they set. */
export class AdminCommands {
  private readonly kept: KeptFeatures | undefined;
  /** Identifiers of the features that the program has set. */
  private readonly setFeatures = new Set<number>();
  private restarting: AbortSignal | undefined;

  /**
   * @param rules the limits on data; the owner replaces them when it knows those of the controller
   * @param restoresFeatures whether features are set again after a reset
   */
  constructor(
    private readonly queue: QueuePair,
    private readonly dma: DmaSpace,
    public rules: DataRules,
    restoresFeatures: boolean,
  ) {
    this.kept = restoresFeatures ? new KeptFeatures() : undefined;
  }

  /** Submits a command of the program. @throws as NvmeController.admin(), at once or as a rejection */
  submit(command: NvmeCommand, options?: CommandOptions): Promise<NvmeCompletion> {
    if (options !== undefined) checkCommandOptions(options);
    checkCommand(command, this.rules);
    const completion = this.queue.submit(command, options);
    if (command.opcode === AdminOpcode.setFeatures) this.setFeatures.add((command.cdw10 ?? 0) & FID_MASK);
    this.kept?.watch(command, completion);
    return completion;
  }

  /** Whether the program has set this feature since the controller was opened. */
  hasSet(fid: number): boolean {
    return this.setFeatures.has(fid);
  }

  /** Submits a command of the driver. If a restart is under way, its signal aborts the command. */
  own(command: NvmeCommand): Promise<NvmeCompletion> {
    checkCommand(command, this.rules);
    return this.queue.submit(command, { signal: this.restarting });
  }

  /** See `HostMemoryTarget`. */
  hostMemoryGiven(command: NvmeCommand): void {
    this.kept?.hostMemoryGiven(command);
  }

  /** Runs a restart. If `signal` aborts, the driver's commands in it end with the signal's reason. */
  async whileRestarting(signal: AbortSignal, restart: () => Promise<void>): Promise<void> {
    this.restarting = signal;
    try {
      await restart();
    } finally {
      this.restarting = undefined;
    }
  }

  /** Sets features again after a reset. Parameters and errors are those of {@link KeptFeatures.restore}. */
  async restoreFeatures(
    which: "vectors" | "others",
    since: number,
    onRefused: (feature: SetFeature, error: NvmeError) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { dma } = this;
    await this.kept?.restore(
      which,
      since,
      (command, data) => {
        if (data === undefined) return this.own(command);
        return adminWrite({ dma, admin: (whole) => this.own(whole) }, command, data);
      },
      onRefused,
      signal,
    );
  }
}
