/** A received frame. */
import { LENGTH_MASK, Status, VLAN_SHIFT } from "./descriptors.js";

/** What the device says of a checksum; `unchecked` if it didn't look, or the frame has none. */
export type Checksum = "good" | "bad" | "unchecked";

/** A received frame, without its CRC and without the VLAN tag that the device took out. */
export class ReceivedFrame {
  /** Length in bytes. */
  length = 0;
  /** Hash of its addresses and ports that chose the queue; 0 with one queue. */
  hash = 0;
  private status = 0;
  private tag = 0;

  constructor(
    /** The queue that it came through. */
    readonly queue: number,
    private readonly memory: Uint8Array,
    /** Fills the target with the first bytes of the memory. */
    private readonly read: (target: Uint8Array) => void = (target) =>
      target.set(memory.subarray(0, target.length)),
  ) {}

  /** Its bytes. */
  get bytes(): Uint8Array {
    return this.memory.subarray(0, this.length);
  }

  /** The VLAN tag: VLAN in the low 12 bits, priority in the high 3. Undefined if it had none. */
  get vlan(): number | undefined {
    return (this.status & Status.vlanStripped) === 0 ? undefined : this.tag;
  }

  /** The checksum of its IPv4 header. */
  get ipChecksum(): Checksum {
    return this.checksum(Status.ipChecked, Status.ipError);
  }

  /** The checksum of TCP or UDP. */
  get transportChecksum(): Checksum {
    return this.checksum(Status.transportChecked, Status.transportError);
  }

  /** A frame whose bytes stay as they are. */
  copy(): ReceivedFrame {
    const bytes = new Uint8Array(this.length);
    this.read(bytes);
    const copy = new ReceivedFrame(this.queue, bytes);
    copy.length = this.length;
    copy.status = this.status;
    copy.tag = this.tag;
    copy.hash = this.hash;
    return copy;
  }

  /** For the queue: what the device wrote into the descriptor. */
  fill(size: number, status: number, hash: number): void {
    this.length = size & LENGTH_MASK;
    this.tag = size >>> VLAN_SHIFT;
    this.status = status;
    this.hash = hash;
  }

  /** For the queue: whether it is neither longer than a buffer nor damaged. The device was told to drop these. */
  get isWhole(): boolean {
    return (this.status & (Status.endOfPacket | Status.receiveError)) === Status.endOfPacket;
  }

  private checksum(checked: number, error: number): Checksum {
    if ((this.status & checked) === 0) return "unchecked";
    return (this.status & error) === 0 ? "good" : "bad";
  }
}
