/** Whether the emulated controller executes commands. */

/** Whether the controller executes commands. Its parts share one of these. */
export class RunState {
  /** The controller is ready (CSTS.RDY), and no shutdown, fatal error or unplugging has stopped it. */
  isRunning = false;
  /** A migration has stopped the controller. */
  isPaused = false;
}
