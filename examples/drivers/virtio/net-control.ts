/** Commands to virtio's network device through its control queue (Virtual I/O Device 1.2, section 5.1.6.5). */
import { setTimeout } from "node:timers/promises";
import type { DmaBuffer, DmaSpace } from "iova";
import { Turns } from "../turns.js";
import { VirtioError } from "./error.js";
import type { Virtqueue } from "./virtqueue.js";

const TIMEOUT_MS = 10_000;
const HEAD_BYTES = 2;
const MOST_DATA_BYTES = 4096;
const ACK_AT = HEAD_BYTES + MOST_DATA_BYTES;
const DONE = 0;
const REFUSED = 1;
const ADDRESS_BYTES = 6;
const MOST_ADDRESSES = 64;

/** Class and command. */
const Command = {
  promiscuous: [0, 0],
  allMulticast: [0, 1],
  setAddresses: [1, 0],
  addVlan: [2, 0],
} as const;

/** One command at a time. */
export class NetControl {
  private readonly buffer: DmaBuffer;
  private readonly turns = new Turns();

  constructor(
    dma: DmaSpace,
    private readonly queue: Virtqueue,
  ) {
    this.buffer = dma.alloc(ACK_AT + 1);
  }

  /** Receives frames to every unicast or multicast address. What isn't named is switched off. */
  async setPromiscuous({
    unicast = false,
    multicast = false,
  }: {
    unicast?: boolean;
    multicast?: boolean;
  }): Promise<void> {
    await this.command("promiscuous", Uint8Array.of(Number(unicast)));
    await this.command("allMulticast", Uint8Array.of(Number(multicast)));
  }

  /** Receives frames to these multicast addresses only, six bytes each. */
  async setMulticast(addresses: readonly Uint8Array[]): Promise<void> {
    if (addresses.length > MOST_ADDRESSES || addresses.some(({ length }) => length !== ADDRESS_BYTES))
      throw new VirtioError(`give at most ${MOST_ADDRESSES} addresses of ${ADDRESS_BYTES} bytes`);
    const data = Buffer.alloc(8 + ADDRESS_BYTES * addresses.length);
    // No further unicast addresses.
    data.writeUInt32LE(addresses.length, 4);
    for (const [i, address] of addresses.entries()) data.set(address, 8 + i * ADDRESS_BYTES);
    await this.command("setAddresses", data);
  }

  /** Receives frames with this VLAN tag, too. */
  async addVlan(vlan: number): Promise<void> {
    await this.command("addVlan", new Uint8Array(Uint16Array.of(vlan).buffer));
  }

  /** The device must have stopped. */
  close(): void {
    this.buffer.close();
  }

  /** @throws as a rejection: VirtioError if the device refuses, or doesn't answer */
  private command(name: keyof typeof Command, data: Uint8Array): Promise<void> {
    return this.turns.take(() => this.send(name, data));
  }

  private async send(name: keyof typeof Command, data: Uint8Array): Promise<void> {
    const { buffer } = this;
    const { bytes, iova } = buffer;
    buffer.write(Uint8Array.from(Command[name]));
    buffer.write(data, HEAD_BYTES);
    bytes[ACK_AT] = REFUSED;
    const answered = this.queue.submit([
      { iova, sizeBytes: HEAD_BYTES, deviceWrites: false },
      { iova: iova + BigInt(HEAD_BYTES), sizeBytes: data.length, deviceWrites: false },
      { iova: iova + BigInt(ACK_AT), sizeBytes: 1, deviceWrites: true },
    ]);
    const limit = new AbortController();
    try {
      await Promise.race([answered, late(name, limit.signal)]);
    } catch (error) {
      // A late answer would be taken for that of the next command.
      this.queue.fail(error);
      throw error;
    } finally {
      limit.abort();
    }
    if (bytes[ACK_AT] !== DONE) throw new VirtioError(`the device refuses the command ${name}`);
  }
}

async function late(name: string, signal: AbortSignal): Promise<never> {
  try {
    await setTimeout(TIMEOUT_MS, undefined, { signal });
  } catch {
    // It was answered: the race is over.
  }
  throw new VirtioError(`the device didn't answer the command ${name} within ${TIMEOUT_MS} ms`);
}
