/** A queue of frames to be sent. */
import type { DmaBuffer, DmaSpace } from "iova";
import { type DescriptorRing, publish } from "iova/pci";
import { Addresses } from "./addresses.js";
import { Context, DescriptorType, Send } from "./descriptors.js";
import { IgbError } from "./error.js";
import { type Headers, headersOf, prepareChecksums } from "./headers.js";
import type { IgbRegisters } from "./registers.js";

const BUFFER_BYTES = 2048;
const HEADER_BYTES = 14;
/** Without CRC. Shorter frames are filled up with zeros. */
const LEAST_BYTES = 60;
/** With a VLAN tag in it. */
export const MOST_BYTES = 1518;
const TAG_BYTES = 4;
const TIMEOUT_MS = 1000;
/** The frame, and what it has in common with others. */
const SLOTS_EACH = 2;
const DONE = 1;
const TAG_MASK = 0xffff;
const MOST_TAG = 0xffff;
const VLAN_SHIFT = 16;
const MAC_SHIFT = 9;
const IPV4 = 1 << 10;
const TCP = 1 << 11;
const CONTEXT = (DescriptorType.context << 20) | (1 << 29);
const DATA = (DescriptorType.data << 20) | (1 << 29) | (1 << 25) | (1 << 24);
const REPORT = 1 << 27;
const INSERT_VLAN = 1 << 30;
const IP_CHECKSUM = 1 << 8;
const TRANSPORT_CHECKSUM = 1 << 9;
const PAYLOAD_SHIFT = 14;

type Registers = ReturnType<IgbRegisters["sendRings"]["at"]>;

/** What the device does to a frame. */
export interface SendOptions {
  /** VLAN tag to insert: VLAN in the low 12 bits, priority in the high 3. */
  readonly vlan?: number | undefined;
  /** Computes the checksums of IPv4, and of TCP or UDP in IPv4 or IPv6. What the frame has in their place is ignored. */
  readonly checksum?: boolean | undefined;
}

function checkLength(bytes: number, most: number): void {
  if (bytes < HEADER_BYTES || bytes > most)
    throw new IgbError(`a frame has ${HEADER_BYTES} to ${most} bytes, got ${bytes}`);
}

function checkTag(bytes: number, vlan: number): void {
  checkLength(bytes, MOST_BYTES - TAG_BYTES);
  if ((vlan & TAG_MASK) !== vlan) throw new IgbError(`a VLAN tag is 0 to ${MOST_TAG}, got ${vlan}`);
}

/** The headers of a frame that the device is to compute checksums of. @throws IgbError if it can't */
function checkedHeaders(frame: Uint8Array): Headers {
  const headers = headersOf(frame);
  if (headers === undefined || (headers.version === 6 && headers.transport === undefined))
    throw new IgbError("checksum: the frame is neither IPv4, nor TCP or UDP in IPv6");
  return headers;
}

/** Frames for the device. Each is copied into memory of its own. */
export class SendQueue {
  private readonly ring: DescriptorRing<typeof Send.words>;
  private readonly contexts: ReturnType<typeof Context.on>;
  private readonly buffer: DmaBuffer;
  private readonly addresses: Addresses;
  /** Slots that the device will report, in order. */
  private readonly reports: number[] = [];
  /** The last frame since the doorbell; -1 if there is none. */
  private last = -1;
  /** What the device has in its context 0. */
  private contextLengths = -1;
  private contextCommand = -1;
  private isClosed = false;

  constructor(
    dma: DmaSpace,
    readonly index: number,
    slots: number,
    private readonly regs: Registers,
  ) {
    this.buffer = dma.alloc(slots * BUFFER_BYTES);
    try {
      this.ring = Send.ring(dma, slots);
    } catch (error) {
      this.buffer.close();
      throw error;
    }
    this.contexts = Context.on(this.ring.buffer.bytes);
    this.addresses = new Addresses(this.buffer, slots, BUFFER_BYTES);
  }

  /** Shows the ring to the device. */
  async start(): Promise<void> {
    const { regs, ring } = this;
    regs.base.write(ring.iova);
    regs.sizeBytes.write(ring.buffer.sizeBytes);
    regs.head.write(0);
    regs.tail.write(0);
    regs.control.write({ prefetch: 8, host: 1, writeBack: 1, enable: true });
    await regs.control.until({ enable: true }, { timeoutMs: TIMEOUT_MS });
  }

  /** Whether the device has frames that it hasn't sent, as far as {@link reap} has seen. */
  get isEmpty(): boolean {
    return this.ring.used === 0;
  }

  /**
   * Puts a frame into the ring. The device sees it at {@link ringDoorbell}.
   * @returns false if the ring is full
   * @throws IgbError if the queue is closed; the frame is too short or too long; it has no checksums that the device could compute
   */
  post(frame: Uint8Array, options?: SendOptions): boolean {
    const { ring } = this;
    if (this.isClosed) throw new IgbError(`queue ${this.index} is closed`);
    checkLength(frame.length, MOST_BYTES);
    if (ring.free < SLOTS_EACH) this.reap();
    if (ring.free < SLOTS_EACH) return false;
    if (options === undefined) this.place(frame, DATA, 0);
    else this.placeWith(frame, options);
    return true;
  }

  /** Shows the device what was posted. It reports the last of them. */
  ringDoorbell(): void {
    const { ring, last } = this;
    if (last < 0 || this.isClosed) return;
    const { command } = ring.slots;
    command.write(last, command.read(last) | REPORT);
    this.reports.push(last);
    this.last = -1;
    publish();
    this.regs.tail.write(ring.tail.slot);
  }

  /** Takes back the slots of frames that were sent. */
  reap(): void {
    const { ring, reports } = this;
    for (let report = reports[0]; report !== undefined; report = reports[0]) {
      if ((ring.slots.status.read(report) & DONE) === 0) return;
      reports.shift();
      while (ring.pop() !== report);
    }
  }

  /** Frees the memory. The device must have stopped. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.ring.close();
    this.buffer.close();
  }

  /** Fills a slot. There is room. @returns where its bytes lie in the buffer */
  private place(frame: Uint8Array, command: number, status: number): number {
    const { ring, addresses } = this;
    const slot = ring.push();
    const at = slot * BUFFER_BYTES;
    let length = frame.length;
    this.buffer.write(frame, at);
    if (length < LEAST_BYTES) {
      this.buffer.bytes.fill(0, at + length, at + LEAST_BYTES);
      length = LEAST_BYTES;
    }
    const { slots } = ring;
    slots.address.writeHalves(slot, addresses.low(slot), addresses.high(slot));
    slots.command.write(slot, command | length);
    slots.status.write(slot, status | (length << PAYLOAD_SHIFT));
    this.last = slot;
    return at;
  }

  private placeWith(frame: Uint8Array, { vlan, checksum = false }: SendOptions): void {
    if (vlan !== undefined) checkTag(frame.length, vlan);
    const headers = checksum ? checkedHeaders(frame) : undefined;
    if (vlan !== undefined || headers !== undefined) this.setContext(vlan, headers);
    let status = 0;
    if (headers?.version === 4) status |= IP_CHECKSUM;
    if (headers?.transport !== undefined) status |= TRANSPORT_CHECKSUM;
    const at = this.place(frame, DATA | (vlan === undefined ? 0 : INSERT_VLAN), status);
    if (headers !== undefined) prepareChecksums(this.buffer.view(at, frame.length), headers);
  }

  /** The frames from here on have this in common. The device keeps it for later frames. */
  private setContext(vlan: number | undefined, headers: Headers | undefined): void {
    const { macBytes = HEADER_BYTES, ipBytes = 0, version, transport } = headers ?? {};
    const lengths = (((vlan ?? 0) << VLAN_SHIFT) | (macBytes << MAC_SHIFT) | ipBytes) >>> 0;
    const command = CONTEXT | (version === 4 ? IPV4 : 0) | (transport === "tcp" ? TCP : 0);
    if (lengths === this.contextLengths && command === this.contextCommand) return;
    const { ring, contexts } = this;
    const slot = ring.push();
    contexts.lengths.write(slot, lengths);
    contexts.security.write(slot, 0);
    contexts.command.write(slot, command);
    contexts.index.write(slot, 0);
    this.contextLengths = lengths;
    this.contextCommand = command;
  }
}
