/** The Keep Alive timer of a controller, and the commands that reset it. */
import { UnsupportedError } from "../../core/errors.js";
import type { NvmeCommand, NvmeCompletion } from "../command/command.js";
import { AdminOpcode, FeatureId } from "../spec/opcodes.js";

const KAS_UNIT_MS = 100;
/** Two beats can be late before the controller's timer expires. */
const BEATS_PER_TIMEOUT = 3;

/** Sends Keep Alive commands at regular intervals. */
export class KeepAlive {
  private timer: NodeJS.Timeout | undefined;

  /**
   * @param name the controller's name, for errors
   * @param beat sends a Keep Alive command if the controller is live
   */
  constructor(
    private readonly name: string,
    private readonly beat: (command: NvmeCommand) => void,
  ) {}

  /**
   * Sets the controller's timer and starts sending. A timer that runs already is replaced.
   * @param timeoutMs rounded up to the controller's granularity
   * @param units granularity in 100 ms (Identify Controller, KAS); 0 if the controller has no Keep Alive
   * @param admin sends an admin command
   * @throws UnsupportedError if the controller has no Keep Alive, and what `admin` throws
   */
  async start(
    timeoutMs: number,
    units: number,
    admin: (command: NvmeCommand) => Promise<NvmeCompletion>,
  ): Promise<void> {
    this.stop();
    if (units === 0) throw new UnsupportedError(`${this.name} has no Keep Alive (Identify Controller, KAS)`);
    const unit = units * KAS_UNIT_MS;
    const rounded = Math.ceil(timeoutMs / unit) * unit;
    await admin({
      name: "Set Features (Keep Alive Timer)",
      opcode: AdminOpcode.setFeatures,
      cdw10: FeatureId.keepAliveTimer,
      cdw11: rounded,
    });
    this.timer = setInterval(
      () => this.beat({ name: "Keep Alive", opcode: AdminOpcode.keepAlive }),
      rounded / BEATS_PER_TIMEOUT,
    ).unref();
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
  }
}
