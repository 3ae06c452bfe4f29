/**
 * A driver for Intel's 82576, the network controller that QEMU has as `igb` and Linux drives by igb:
 * `node dist/examples/drivers/igb/igb.js BDF` shows what comes in.
 */

import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import { setTimeout } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import {
  ClosedError,
  DeviceGoneError,
  type Interrupts,
  type InterruptVector,
  PciDevice,
  TimeoutError,
} from "iova";
import { IgbError } from "./error.js";
import { Filters } from "./filters.js";
import { Phy } from "./phy.js";
import { type ReceiveOptions, ReceiveQueue } from "./receive-queue.js";
import type { ReceivedFrame } from "./received-frame.js";
import { type IgbRegisters, igbRegisters } from "./registers.js";
import { MOST_BYTES, type SendOptions, SendQueue } from "./send-queue.js";
import { Sender } from "./sender.js";
import { Counters, type Statistics } from "./statistics.js";

const VENDOR_ID = 0x8086;
/** 82576 with copper ports: single, quad, quad ET2, NS. */
const DEVICE_IDS: readonly number[] = [0x10c9, 0x10e8, 0x1526, 0x150a];
const ALL = 0xffff_ffff;
const TIMEOUT_MS = 2000;
/** How often the driver looks whether the device is still there: a device that is pulled out may say nothing. */
const PRESENCE_MS = 500;
/** Time that the device needs after a reset (section 4.2.1.6.1 asks for 1 ms, and then it loads its configuration). */
const RESET_MS = 10;
const CRC_BYTES = 4;
const MOST_PAIRS = 8;
const KEY_BYTES = 40;
/** Ring lengths are multiples of 128 bytes. */
const SLOTS_STEP = 8;
const LEAST_SLOTS = 16;
const MOST_SLOTS = 4096;
const HASHED_QUEUES = 2;
const REDIRECTIONS = 128;
const MEGABITS = [10, 100, 1000, 1000];

/** Options of {@link Igb.start}. */
export interface IgbOptions {
  /** Queues in each direction, 1 by default. Each has an interrupt vector. */
  readonly queues?: number | undefined;
  /** Frames that each queue holds: 512 by default; a multiple of 8 within 16 to 4096. */
  readonly slots?: number | undefined;
  /** Least time between two interrupts of a vector in microseconds: 50 by default; 0 to 8191. */
  readonly intervalUs?: number | undefined;
  /** 40 bytes, of which the hash is made that distributes IP frames to the queues; random by default. */
  readonly hashKey?: Uint8Array | undefined;
}

/** The state of the link. */
export interface Link {
  readonly up: boolean;
  /** 0 while it is down. */
  readonly megabits: number;
  readonly fullDuplex: boolean;
}

/** Options of waits. */
export interface WaitOptions {
  readonly signal?: AbortSignal | undefined;
}

/** What a call needs besides the frame. */
export interface SendThroughOptions extends SendOptions, WaitOptions {
  /** The queue; 0 by default. */
  readonly queue?: number | undefined;
}

/** What an iteration needs. */
export interface ReceiveFromOptions extends ReceiveOptions {
  /** The queue; 0 by default. */
  readonly queue?: number | undefined;
}

/** A network controller. */
export class Igb implements AsyncDisposable {
  /** `link`: the link has changed. */
  readonly events = new EventEmitter<{ link: [Link] }>();
  /** Which frames are received. */
  readonly filters: Filters;
  private readonly regs: IgbRegisters;
  private readonly counters: Counters;
  private readonly receiving: ReceiveQueue[] = [];
  private readonly sending: SendQueue[] = [];
  private readonly senders: Sender[] = [];
  private interrupts: Interrupts | undefined;
  private presence: NodeJS.Timeout | undefined;
  private closing: Promise<void> | undefined;
  /** Aborts at the end. */
  private readonly end = new AbortController();

  private constructor(private readonly device: PciDevice) {
    this.regs = igbRegisters.on(device.bar(0));
    this.filters = new Filters(this.regs);
    this.counters = new Counters(device);
  }

  /**
   * Resets the device and starts it. The link comes up some time later: see {@link linkUp}.
   * @throws as a rejection: IgbError (not an 82576, a wrong option, too few vectors); as PciDevice's methods
   */
  static async start(device: PciDevice, options: IgbOptions = {}): Promise<Igb> {
    const { queues = 1, slots = 512, intervalUs = 50, hashKey = randomBytes(KEY_BYTES) } = options;
    const { vendorId, deviceId } = device.function;
    if (vendorId !== VENDOR_ID || !DEVICE_IDS.includes(deviceId))
      throw new IgbError(
        `${device.bdf} is ${vendorId.toString(16)}:${deviceId.toString(16)}: this driver takes an 82576`,
      );
    check("queues", queues, 1, MOST_PAIRS);
    check("slots", slots, LEAST_SLOTS, MOST_SLOTS);
    check("intervalUs", intervalUs, 0, 8191);
    if (slots % SLOTS_STEP !== 0)
      throw new IgbError(`slots must be a multiple of ${SLOTS_STEP}, got ${slots}`);
    if (hashKey.length !== KEY_BYTES)
      throw new IgbError(`hashKey has ${KEY_BYTES} bytes, got ${hashKey.length}`);
    const igb = new Igb(device);
    try {
      await igb.begin(queues, slots, intervalUs, hashKey);
      return igb;
    } catch (error) {
      await igb.close();
      throw error;
    }
  }

  /** The device's address, such as `52:54:00:12:34:56`. */
  get macAddress(): string {
    return this.filters.macAddress;
  }

  /** Queues in each direction. */
  get queues(): number {
    return this.receiving.length;
  }

  /** The link as it is now. */
  get link(): Link {
    const { linkUp: up, speed, fullDuplex } = this.regs.status.decode();
    return { up, megabits: up ? (MEGABITS[speed] ?? 0) : 0, fullDuplex };
  }

  /**
   * Waits until the link is up.
   * @throws as a rejection: TimeoutError, the signal's reason, DeviceGoneError, IgbError if the driver closes
   */
  async linkUp({ timeoutMs, signal }: WaitOptions & { readonly timeoutMs: number }): Promise<void> {
    const { events, end } = this;
    const wake = (again: () => void) => {
      events.on("link", again);
      return { close: () => void events.off("link", again) };
    };
    const signals = signal === undefined ? [end.signal] : [end.signal, signal];
    await this.regs.status.until({ linkUp: true }, { timeoutMs, wake, signal: AbortSignal.any(signals) });
  }

  /**
   * Sends a frame: addresses, type and data, without CRC. Its bytes are copied before this returns. Waits while the ring is full.
   * @throws as a rejection: IgbError (too short or long, no such queue, closed), the signal's reason, DeviceGoneError, ClosedError
   */
  send(frame: Uint8Array, { queue = 0, signal, ...options }: SendThroughOptions = {}): Promise<void> {
    const sender = this.senders[queue];
    if (sender === undefined) return Promise.reject(this.noQueue(queue));
    return sender.send(frame, options, signal);
  }

  /**
   * Sends frames, which costs less than one by one.
   * @throws as a rejection, with the frames before it sent: as {@link send}
   */
  async sendAll(
    frames: Iterable<Uint8Array>,
    { queue = 0, signal, ...options }: SendThroughOptions = {},
  ): Promise<void> {
    const sender = this.senders[queue];
    if (sender === undefined) throw this.noQueue(queue);
    await sender.sendAll(frames, options, signal);
  }

  /** Waits until the device has sent all frames. @throws as a rejection: as {@link send} */
  async flush({ signal }: WaitOptions = {}): Promise<void> {
    for (const sender of this.senders) await sender.flush(signal);
  }

  /**
   * The frames that a queue receives, each with memory of its own. Ends when the driver closes.
   * @throws in the iteration: IgbError (no such queue, iterated already), the signal's reason, DeviceGoneError
   */
  async *receive(options: ReceiveFromOptions = {}): AsyncGenerator<ReceivedFrame, void, undefined> {
    for await (const batch of this.receiveBatches(options)) for (const frame of batch) yield frame.copy();
  }

  /**
   * The same in batches, without copies: a frame's bytes are valid until the next turn of the loop.
   * @throws as {@link receive}
   */
  receiveBatches(
    options: ReceiveFromOptions = {},
  ): AsyncGenerator<readonly ReceivedFrame[], void, undefined> {
    const { queue: index = 0, ...rest } = options;
    const queue = this.receiving[index];
    if (queue === undefined) throw this.noQueue(index);
    return queue.batches(this.vector(index), this.device.signal, rest);
  }

  /** Counts since the start. Read them now and then: the device's counters stop at 2^32 - 1. */
  statistics(): Statistics {
    return this.counters.read();
  }

  /** Stops the device and ends all waits and iterations. The device stays open. A second call waits for the first. */
  async close(): Promise<void> {
    this.closing ??= this.stop();
    await this.closing;
  }

  /** As {@link close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private async begin(queues: number, slots: number, intervalUs: number, key: Uint8Array): Promise<void> {
    const { device, regs } = this;
    await this.reset();
    device.config.busMaster = true;
    const count = 2 * queues + 1;
    const interrupts = device.enableInterrupts({ kind: "msix", count });
    this.interrupts = interrupts;
    if (interrupts.vectors.length < count)
      throw new IgbError(
        `${device.bdf} has ${interrupts.vectors.length} vectors: ${queues} queues need ${count}`,
      );
    this.setVectors(queues, intervalUs);
    regs.extendedControl.modify({ driverLoaded: true, resetDone: true });
    regs.control.modify({ setLinkUp: true, forceSpeed: false, forceDuplex: false, stripVlan: true });
    this.counters.clear();
    regs.receiveChecksum.write({ ip: true, transport: true, hashInsteadOfChecksum: true });
    regs.longestFrame.write(MOST_BYTES + CRC_BYTES);
    this.filters.setMulticast([]);
    this.filters.setVlans("all");
    if (queues > 1) this.setHash(queues, key);
    for (let i = 0; i < queues; i++) {
      this.receiving.push(new ReceiveQueue(device.dma, i, slots, regs.receiveRings.at(i)));
      const queue = new SendQueue(device.dma, i, slots, regs.sendRings.at(i));
      this.sending.push(queue);
      this.senders.push(new Sender(queue, this.vector(queues + i), regs));
    }
    regs.sendControl.write({ enable: true, padShort: true, collisionThreshold: 15, backOff: 64 });
    regs.receiveControl.write({ enable: true, longFrames: true, broadcast: true, stripCrc: true });
    for (const queue of [...this.receiving, ...this.sending]) await queue.start();
    interrupts.watch(2 * queues, () => this.look()).unref();
    this.presence = setInterval(() => this.checkPresence(), PRESENCE_MS).unref();
    regs.interruptMaskSet.write({ linkChange: true });
    await new Phy(regs, device.bdf).negotiate();
  }

  /** Queue i receives by vector i, and sends by the one so many later; the last is for the link. */
  private setVectors(queues: number, intervalUs: number): void {
    const { regs } = this;
    regs.interruptMode.write({ singleRead: true, multipleVectors: true, autoMask: true, pendingBits: true });
    for (let i = 0; i < queues; i++) {
      regs.queueVectors.at(i).write({ receive: i, receiveValid: true, send: queues + i, sendValid: true });
    }
    regs.otherVector.write({ other: 2 * queues, otherValid: true });
    for (let i = 0; i <= 2 * queues; i++) regs.vectorInterval.at(i).write({ microseconds: intervalUs });
    regs.vectorAutoClear.write((1 << (2 * queues + 1)) - 1);
    const receiving = (1 << queues) - 1;
    regs.vectorMaskSet.write(receiving | (1 << (2 * queues)));
  }

  /** Distributes IP frames to the queues by a hash of their addresses and ports; others go to queue 0. */
  private setHash(queues: number, key: Uint8Array): void {
    const { regs } = this;
    const words = new DataView(key.buffer, key.byteOffset, key.length);
    for (let i = 0; i < regs.hashKey.length; i++) regs.hashKey.at(i).write(words.getUint32(i * 4, true));
    const table = new DataView(new ArrayBuffer(REDIRECTIONS));
    for (let i = 0; i < REDIRECTIONS; i++) table.setUint8(i, i % queues);
    for (let i = 0; i < regs.redirection.length; i++)
      regs.redirection.at(i).write(table.getUint32(i * 4, true));
    regs.hashControl.write({
      mode: HASHED_QUEUES,
      ...{ ipv4: true, tcpIpv4: true, udpIpv4: true, ipv6: true, tcpIpv6: true, udpIpv6: true },
    });
  }

  /** An interrupt that isn't of a queue. */
  private look(): void {
    try {
      const { interruptCause } = this.regs;
      if (interruptCause.fields.linkChange.of(interruptCause.read())) this.events.emit("link", this.link);
    } catch (error) {
      // Whoever waits is told.
      if (!(error instanceof DeviceGoneError)) throw error;
    }
  }

  /** Ends all waits by a DeviceGoneError if the device has gone. */
  private checkPresence(): void {
    const { device } = this;
    try {
      // Not by a register: without the device these read all ones or, in QEMU, zeros.
      if (device.bar(0).isGone()) clearInterval(this.presence);
    } catch (error) {
      // The device was closed before the driver, or has gone: whoever waits is told.
      if (!(error instanceof ClosedError || error instanceof DeviceGoneError)) throw error;
      clearInterval(this.presence);
    }
  }

  /** Stops all DMA and interrupts (section 4.2.1.6.1). */
  private async reset(): Promise<void> {
    const { regs } = this;
    regs.interruptMaskClear.write(ALL);
    regs.vectorMaskClear.write(ALL);
    regs.receiveControl.write(0);
    regs.sendControl.write({ padShort: true });
    regs.control.modify({ masterDisable: true });
    try {
      await regs.status.until({ masterEnabled: false }, { timeoutMs: TIMEOUT_MS });
    } catch (error) {
      // The reset ends its requests, too.
      if (!(error instanceof TimeoutError)) throw error;
    }
    regs.control.modify({ reset: true });
    await setTimeout(RESET_MS);
    await regs.control.until({ reset: false }, { timeoutMs: TIMEOUT_MS });
    regs.interruptMaskClear.write(ALL);
    regs.vectorMaskClear.write(ALL);
    regs.interruptCause.read();
  }

  private async stop(): Promise<void> {
    clearInterval(this.presence);
    this.end.abort(new IgbError(`the driver of ${this.device.bdf} was closed`));
    try {
      await this.reset();
    } catch (error) {
      // A device that has gone does nothing any more.
      if (!(error instanceof DeviceGoneError)) throw error;
    } finally {
      this.interrupts?.close();
    }
    for (const queue of [...this.receiving, ...this.sending]) queue.close();
  }

  private vector(index: number): InterruptVector {
    const vector = this.interrupts?.vectors[index];
    if (vector === undefined) throw new IgbError(`${this.device.bdf} has no vector ${index}`);
    return vector;
  }

  private noQueue(index: number): IgbError {
    return new IgbError(`queue is 0 to ${this.queues - 1}, got ${index}`);
  }
}

function check(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most)
    throw new IgbError(`${name} must be an integer within ${least} to ${most}, got ${value}`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  using device = PciDevice.open(process.argv[2] ?? "");
  await using igb = await Igb.start(device);
  console.log(`${igb.macAddress}: waiting for the link`);
  await igb.linkUp({ timeoutMs: 10_000 });
  console.log(`${igb.link.megabits} Mb/s. Ctrl+C ends this.`);
  igb.filters.setPromiscuous({ unicast: true, multicast: true });
  const interrupted = new AbortController();
  process.once("SIGINT", () => interrupted.abort());
  try {
    for await (const { length, vlan, bytes } of igb.receive({ signal: interrupted.signal }))
      console.log(
        length,
        "bytes",
        vlan === undefined ? "" : `VLAN ${vlan & 0xfff}`,
        Buffer.from(bytes).toString("hex", 0, 14),
      );
  } catch (error) {
    if (!interrupted.signal.aborted) throw error;
  }
  console.log(igb.statistics());
}
