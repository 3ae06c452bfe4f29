/** Which frames the 82576 receives (82576 datasheet, section 7.1.1). */
import { IgbError } from "./error.js";
import { formatMac, parseMac } from "./mac.js";
import type { IgbRegisters } from "./registers.js";

const MOST_VLAN = 0xfff;

/** Which frames are received besides those to the device's own address and broadcasts. */
export class Filters {
  constructor(private readonly regs: IgbRegisters) {}

  /** The device's own address. */
  get macAddress(): string {
    const { low, high } = this.regs.address.at(0);
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setUint32(0, low.read(), true);
    bytes.setUint32(4, high.read(), true);
    return formatMac(new Uint8Array(bytes.buffer, 0, 6));
  }

  /** Receives frames to every unicast or multicast address. What isn't named is switched off. */
  setPromiscuous({ unicast = false, multicast = false }: { unicast?: boolean; multicast?: boolean }): void {
    this.regs.receiveControl.modify({ unicastPromiscuous: unicast, multicastPromiscuous: multicast });
  }

  /**
   * Receives frames to these multicast addresses only. The device compares 12 bits of an address, so that a few others pass.
   * @throws IgbError if one isn't a multicast address
   */
  setMulticast(addresses: Iterable<string>): void {
    const table = new Uint32Array(this.regs.multicastTable.length);
    for (const address of addresses) {
      const bytes = parseMac(address);
      const [first = 0, , , , fifth = 0, sixth = 0] = bytes;
      if ((first & 1) === 0) throw new IgbError(`${address} is no multicast address`);
      setBit(table, ((sixth << 8) | fifth) >> 4);
    }
    for (const [i, value] of table.entries()) this.regs.multicastTable.at(i).write(value);
  }

  /**
   * Of frames with a VLAN tag, receives only those of these VLANs; `"all"` receives all, as after start.
   * @throws IgbError if one isn't within 0 to 4095
   */
  setVlans(vlans: Iterable<number> | "all"): void {
    const table = new Uint32Array(this.regs.vlanTable.length);
    for (const vlan of vlans === "all" ? [] : vlans) {
      if (!Number.isInteger(vlan) || vlan < 0 || vlan > MOST_VLAN)
        throw new IgbError(`a VLAN is 0 to ${MOST_VLAN}, got ${vlan}`);
      setBit(table, vlan);
    }
    for (const [i, value] of table.entries()) this.regs.vlanTable.at(i).write(value);
    this.regs.receiveControl.modify({ vlanFilter: vlans !== "all" });
  }
}

function setBit(table: Uint32Array, bit: number): void {
  const at = bit >> 5;
  table[at] = (table[at] ?? 0) | (1 << (bit & 31));
}
