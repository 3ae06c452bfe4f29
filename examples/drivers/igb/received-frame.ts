/** A received frame. */
import { Status } from "./descriptors.js";

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
    const copy = new ReceivedFrame(this.queue, this.memory.slice(0, this.length));
    copy.fill(this.length, this.status, this.tag, this.hash);
    return copy;
  }

  /** For the queue: what the device wrote. */
  fill(length: number, status: number, tag: number, hash: number): void {
    this.length = length;
    this.status = status;
    this.tag = tag;
    this.hash = hash;
  }

  private checksum(checked: number, error: number): Checksum {
    if ((this.status & checked) === 0) return "unchecked";
    return (this.status & error) === 0 ? "good" : "bad";
  }
}
