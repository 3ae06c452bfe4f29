/** The transceiver (PHY) of the 82576 (82576 datasheet, sections 3.5 and 4.7): reached by a serial bus shared with the firmware. */
import { IgbError } from "./error.js";
import type { IgbRegisters } from "./registers.js";

const ADDRESS = 1;
const WRITE = 1;
const READ = 2;
const TIMEOUT_MS = 1000;
/** Of port 0 in the register that says who uses what; of port 1, twice as much. */
const PORT_0 = 1 << 1;
const FIRMWARE_SHIFT = 16;

/** Registers that all transceivers have (IEEE 802.3, clause 22). */
const CONTROL = 0;
const Control = { restart: 1 << 9, negotiate: 1 << 12, powerDown: 1 << 11 } as const;

/** The transceiver of a port. */
export class Phy {
  constructor(
    private readonly regs: IgbRegisters,
    private readonly name: string,
  ) {}

  /** Negotiates speed and duplex with the other end, from the beginning. @throws as a rejection: IgbError, TimeoutError */
  async negotiate(): Promise<void> {
    await this.exclusively(async () => {
      const control = await this.transfer(READ, CONTROL, 0);
      const wanted = (control & ~Control.powerDown) | Control.negotiate | Control.restart;
      await this.transfer(WRITE, CONTROL, wanted);
    });
  }

  private async transfer(operation: number, register: number, data: number): Promise<number> {
    const { mdi } = this.regs;
    mdi.write({ data, register, phy: ADDRESS, operation });
    const value = await mdi.until({ ready: true }, { timeoutMs: TIMEOUT_MS });
    if (mdi.fields.error.of(value))
      throw new IgbError(`${this.name}: register ${register} of the PHY can't be reached`);
    return mdi.fields.data.of(value);
  }

  /** Keeps the firmware and the other port away meanwhile. */
  private async exclusively(action: () => Promise<void>): Promise<void> {
    const mine = this.regs.status.get("lan") === 0 ? PORT_0 : PORT_0 << 1;
    await this.claim(mine);
    try {
      await action();
    } finally {
      await this.withSemaphore(() => this.regs.shared.write(this.regs.shared.read() & ~mine));
    }
  }

  private async claim(mine: number): Promise<void> {
    const { shared } = this.regs;
    const both = mine | (mine << FIRMWARE_SHIFT);
    const end = performance.now() + TIMEOUT_MS;
    let isMine = false;
    while (!isMine) {
      await this.withSemaphore(() => {
        isMine = (shared.read() & both) === 0;
        if (isMine) shared.write(shared.read() | mine);
      });
      if (!isMine && performance.now() > end)
        throw new IgbError(`${this.name}: the PHY is in use by the firmware or another driver`);
    }
  }

  private async withSemaphore(action: () => void): Promise<void> {
    const { semaphore } = this.regs;
    await semaphore.until({ taken: false }, { timeoutMs: TIMEOUT_MS });
    semaphore.write({ taken: true, byDriver: true });
    try {
      await semaphore.until({ byDriver: true }, { timeoutMs: TIMEOUT_MS });
      action();
    } finally {
      semaphore.write(0);
    }
  }
}
