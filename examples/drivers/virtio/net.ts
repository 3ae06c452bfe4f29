/**
 * The network device of virtio (Virtual I/O Device 1.2, section 5.1): `node dist/examples/drivers/virtio/net.js BDF` shows what
 * comes in.
 */
import { EventEmitter } from "node:events";
import { pathToFileURL } from "node:url";
import { PciDevice } from "iova";
import { VirtioError } from "./error.js";
import { NetControl } from "./net-control.js";
import { NetReceiver, type ReceiveOptions } from "./net-receiver.js";
import { NetSender } from "./net-sender.js";
import { type VirtioOptions, VirtioTransport } from "./transport.js";

const TYPE = 1;
const Net = {
  address: 1n << 5n,
  status: 1n << 16n,
  controlQueue: 1n << 17n,
  receiveModes: 1n << 18n,
  vlanFilter: 1n << 19n,
} as const;
/** Address and status. */
const CONFIG_BYTES = 8;
const ADDRESS_BYTES = 6;
const STATUS_AT = 6;
const LINK_UP = 1;
/** Queues of a device whose multiple queues aren't used. */
const RECEIVE = 0;
const SEND = 1;
const CONTROL = 2;

/** Options of {@link VirtioNet.start}. */
export interface VirtioNetOptions extends VirtioOptions {
  /** Receives frames with one of these VLAN tags, and those without a tag; by default, with any tag. */
  readonly vlans?: readonly number[] | undefined;
}

/** Options of waits. */
export interface WaitOptions {
  readonly signal?: AbortSignal | undefined;
}

/** A network device. */
export class VirtioNet implements AsyncDisposable {
  /** `link`: the link has come up (true) or gone down. */
  readonly events = new EventEmitter<{ link: [boolean] }>();
  private receiver: NetReceiver | undefined;
  private sender: NetSender | undefined;
  private readonly address = new Uint8Array(ADDRESS_BYTES);
  private controlQueue: NetControl | undefined;
  private isUp = true;
  private closing: Promise<void> | undefined;

  private constructor(private readonly transport: VirtioTransport) {}

  /** @throws as a rejection: VirtioError (no such device, no VLAN filter); as PciDevice's methods */
  static async start(device: PciDevice, options: VirtioNetOptions = {}): Promise<VirtioNet> {
    const { vlans } = options;
    const transport = new VirtioTransport(device, TYPE);
    const filter = vlans === undefined ? 0n : Net.vlanFilter;
    const wanted = Net.address | Net.status | Net.controlQueue | Net.receiveModes | filter;
    const net = new VirtioNet(transport);
    try {
      await transport.begin(wanted, options);
      await net.begin(vlans);
      return net;
    } catch (error) {
      await net.close();
      throw error;
    }
  }

  /** The device's address, such as `52:54:00:12:34:56`. */
  get macAddress(): string {
    return Array.from(this.address, (byte) => byte.toString(16).padStart(2, "0")).join(":");
  }

  /** Whether the link is up, as the device last said. */
  get linkUp(): boolean {
    return this.isUp;
  }

  /** Which frames are received. @throws VirtioError if the device can't be told */
  get control(): NetControl {
    return present(this.controlQueue, this.bdf, "control queue");
  }

  /**
   * Sends a frame: addresses, type and data, without CRC. Waits while the queue is full.
   * @throws as a rejection: VirtioError (too short or long, stopped), the signal's reason
   */
  async send(frame: Uint8Array, options: WaitOptions = {}): Promise<void> {
    await this.sendAll([frame], options);
  }

  /** Sends frames, which costs less than one by one. @throws as a rejection, with the frames before it sent: as {@link send} */
  async sendAll(frames: Iterable<Uint8Array>, { signal }: WaitOptions = {}): Promise<void> {
    await present(this.sender, this.bdf, "send queue").sendAll(frames, signal);
  }

  /** Waits until the device has sent all frames. @throws as a rejection: as {@link send} */
  async flush({ signal }: WaitOptions = {}): Promise<void> {
    await present(this.sender, this.bdf, "send queue").flush(signal);
  }

  /**
   * The frames that come in, each with memory of its own. Ends when the driver closes.
   * @throws in the iteration: VirtioError (iterated already, failed), the signal's reason
   */
  async *receive(options: ReceiveOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    const receiver = present(this.receiver, this.bdf, "receive queue");
    for await (const batch of receiver.batches(options, true)) yield* batch;
  }

  /** The same in batches, without copies: a frame is valid until the next turn of the loop. @throws as {@link receive} */
  receiveBatches(options: ReceiveOptions = {}): AsyncGenerator<readonly Uint8Array[], void, undefined> {
    return present(this.receiver, this.bdf, "receive queue").batches(options);
  }

  /** Stops the device, and ends all waits and iterations. It stays open. A second call waits for the first. */
  async close(): Promise<void> {
    this.closing ??= this.stop();
    await this.closing;
  }

  /** As {@link close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private async begin(vlans: readonly number[] | undefined): Promise<void> {
    const { transport } = this;
    const { dma, bdf } = transport.device;
    const config = transport.readConfig(CONFIG_BYTES);
    for (let i = 0; i < ADDRESS_BYTES; i++) this.address[i] = config.getUint8(i);
    this.isUp = this.isUpIn(config);
    transport.enableInterrupts(3, () => this.readLink());
    const receiver = new NetReceiver(dma, transport.addQueue(RECEIVE));
    this.receiver = receiver;
    this.sender = new NetSender(dma, transport.addQueue(SEND));
    if (transport.has(Net.controlQueue)) this.controlQueue = new NetControl(dma, transport.addQueue(CONTROL));
    transport.start();
    receiver.start();
    // After a reset some devices receive everything.
    if (transport.has(Net.receiveModes)) await this.control.setPromiscuous({});
    if (vlans === undefined) return;
    if (!transport.has(Net.vlanFilter)) throw new VirtioError(`${bdf} can't filter VLANs`);
    for (const vlan of vlans) await this.control.addVlan(vlan);
  }

  private readLink(): void {
    const before = this.isUp;
    this.isUp = this.isUpIn(this.transport.readConfig(CONFIG_BYTES));
    if (this.isUp !== before) this.events.emit("link", this.isUp);
  }

  private isUpIn(config: DataView): boolean {
    return !this.transport.has(Net.status) || (config.getUint16(STATUS_AT, true) & LINK_UP) !== 0;
  }

  private async stop(): Promise<void> {
    const { receiver, sender, controlQueue } = this;
    receiver?.end();
    await this.transport.reset("the driver was closed");
    for (const each of [receiver, sender, controlQueue]) each?.close();
  }

  private get bdf(): string {
    return this.transport.device.bdf;
  }
}

/** @throws VirtioError if it isn't there */
function present<T>(part: T | undefined, bdf: string, name: string): T {
  if (part === undefined) throw new VirtioError(`${bdf} has no ${name}`);
  return part;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  using device = PciDevice.open(process.argv[2] ?? "");
  await using net = await VirtioNet.start(device);
  console.log(`${net.macAddress}: the link is ${net.linkUp ? "up" : "down"}. Ctrl+C ends this.`);
  await net.control.setPromiscuous({ unicast: true, multicast: true });
  const interrupted = new AbortController();
  process.once("SIGINT", () => interrupted.abort());
  try {
    for await (const frame of net.receive({ signal: interrupted.signal }))
      console.log(frame.length, "bytes", Buffer.from(frame).toString("hex", 0, 14));
  } catch (error) {
    if (!interrupted.signal.aborted) throw error;
  }
}
