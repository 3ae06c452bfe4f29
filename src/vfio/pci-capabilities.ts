/** Reads the capability list in a PCI function's configuration space (PCI Local Bus 3.0, 6.7). */

/** Status register; bit 4: the function has a list of capabilities. */
const STATUS = 0x06;
const STATUS_CAPABILITIES = 1 << 4;
/** Offset of the first capability. */
const CAPABILITIES = 0x34;
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
 */
export function* pciCapabilities(
  read: (offset: number, target: Uint8Array) => void,
): Generator<PciCapability, void> {
  const header = new Uint8Array(HEADER_BYTES);
  read(0, header);
  if (((header[STATUS] ?? 0) & STATUS_CAPABILITIES) === 0) return;
  const seen = new Set<number>();
  const entry = new Uint8Array(2);
  for (let offset = (header[CAPABILITIES] ?? 0) & ~3; offset >= HEADER_BYTES && !seen.has(offset); ) {
    seen.add(offset);
    read(offset, entry);
    const [id = NO_CAPABILITY, next = 0] = entry;
    if (id === NO_CAPABILITY) return;
    yield { id, offset };
    offset = next & ~3;
  }
}
