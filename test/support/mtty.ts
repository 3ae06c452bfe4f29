/** Drives a serial port of the kernel's mtty sample driver. */
import type { DeviceIo } from "../../src/doors/vfio.js";

/** Registers of a serial port (linux/serial_reg.h), one byte each. */
export const Uart = {
  data: 0,
  interruptEnable: 1,
  fifoControl: 2,
  lineControl: 3,
  modemControl: 4,
  lineStatus: 5,
  scratch: 7,
} as const;

export const FIFO_ENABLE = 1;
export const INTERRUPT_WHEN_EMPTY = 2;
const DATA_READY = 1;
const FIFO_BYTES = 16;

/** A port of the kernel's sample serial card. It receives what it sends, up to 16 bytes at a time. */
export class MttyPort {
  constructor(
    private readonly io: DeviceIo,
    private readonly bar: number,
  ) {}

  read(register: number): number {
    const byte = new Uint8Array(1);
    this.io.readRegion(this.bar, register, byte);
    return byte[0] ?? 0;
  }

  write(register: number, value: number): void {
    this.io.writeRegion(this.bar, register, Uint8Array.of(value));
  }

  send(text: string): void {
    if (text.length > FIFO_BYTES) throw new Error(`the port holds ${FIFO_BYTES} bytes`);
    this.write(Uart.fifoControl, FIFO_ENABLE);
    for (const byte of Buffer.from(text, "latin1")) this.write(Uart.data, byte);
  }

  receive(): string {
    const bytes: number[] = [];
    while ((this.read(Uart.lineStatus) & DATA_READY) !== 0) bytes.push(this.read(Uart.data));
    return Buffer.from(bytes).toString("latin1");
  }
}
