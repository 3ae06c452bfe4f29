/** The emulated controller unplugged, for a while or until it is plugged in again. */
import { ControllerStatus } from "../../nvme/spec/registers.js";
import type { Registers } from "./queues/registers.js";
import type { RunState } from "./run-state.js";

/** Unplugs the controller and plugs it in again: meanwhile its registers read all ones. */
export class Unplugging {
  private timer: NodeJS.Timeout | undefined;

  /** @param running the controller executes commands again */
  constructor(
    private readonly registers: Registers,
    private readonly state: RunState,
    private readonly running: () => void,
  ) {}

  /** @param durationMs after which the controller comes back; 0 if only plugIn() brings it back */
  unplug(durationMs: number): void {
    this.state.isRunning = false;
    this.registers.allOnes = true;
    this.stop();
    if (durationMs > 0) this.timer = setTimeout(() => this.plugIn(), durationMs).unref();
  }

  /** The controller goes on where it stopped. Does nothing if it isn't unplugged. */
  plugIn(): void {
    const { registers, state } = this;
    if (!registers.allOnes) return;
    registers.allOnes = false;
    state.isRunning =
      (registers.status & (ControllerStatus.RDY | ControllerStatus.CFS)) === ControllerStatus.RDY;
    if (state.isRunning) this.running();
  }

  stop(): void {
    clearTimeout(this.timer);
  }
}
