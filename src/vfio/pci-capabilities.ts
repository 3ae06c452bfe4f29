/** Reads the capability list in a PCI function's configuration space (PCI Local Bus 3.0, 6.7). */

/** Status register; bit 4: the function has a list of capabilities. */
const STATUS = 0x06;
const STATUS_CAPABILITIES = 1 << 4;
const HEADER_TYPE = 0x0e;
const HEADER_TYPE_MASK = 0x7f;
const HEADER_TYPE_CARDBUS = 2;
/** Offset of the first capability; in the header of a CardBus bridge it is elsewhere. */
const CAPABILITIES = 0x34;
const CARDBUS_CAPABILITIES = 0x14;
const HEADER_BYTES = 0x40;
/** The value that reads of a removed function return. */
const NO_CAPABILITY = 0xff;

/** A capability in configuration space. */
export interface PciCapability {
  /** Capability ID of the PCI Code and ID Assignment specification. */
  readonly id: number;
  /** Offset of its structure in configuration space. */
  readonly offset: number;
}

/**
 * The capabilities, in list order. It ends at an offset inside the header, or at a repeated offset, so that no function can
 * make it endless.
 * @param read fills `target` from an offset of configuration space
 * @param sizeBytes how much can be read, at least the header
 * @returns where the list is damaged, in words; undefined if it ends as it should
 */
export function* pciCapabilities(
  read: (offset: number, target: Uint8Array) => void,
  sizeBytes = 0x100,
): Generator<PciCapability, string | undefined> {
  const header = new Uint8Array(HEADER_BYTES);
  read(0, header);
  const byte = (at: number): number => header[at] ?? 0;
  if ((byte(STATUS) & STATUS_CAPABILITIES) === 0) return undefined;
  const isCardBus = (byte(HEADER_TYPE) & HEADER_TYPE_MASK) === HEADER_TYPE_CARDBUS;
  const seen = new Set<number>();
  const entry = new Uint8Array(2);
  let offset = byte(isCardBus ? CARDBUS_CAPABILITIES : CAPABILITIES) & ~3;
  while (offset >= HEADER_BYTES) {
    const place = `0x${offset.toString(16)}`;
    if (seen.has(offset)) return `the list of capabilities leads back to ${place}`;
    if (offset + entry.length > sizeBytes)
      return `the list of capabilities leads to ${place}, beyond the ${sizeBytes} bytes that can be read`;
    seen.add(offset);
    read(offset, entry);
    const [id = NO_CAPABILITY, next = 0] = entry;
    if (id === NO_CAPABILITY) return `there is no capability at ${place}, where the list leads`;
    yield { id, offset };
    offset = next & ~3;
  }
  return offset === 0
    ? undefined
    : `the list of capabilities leads into the header, to 0x${offset.toString(16)}`;
}
