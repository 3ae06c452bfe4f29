/** Builds configuration spaces in bytes, for tests of their decoding. */

/** Where a capability is, and its registers: byte offset and width in bytes, then the value. */
export interface BuiltCapability {
  readonly at: number;
  readonly id: number;
  /** Where the list leads; by default to the next one given. */
  readonly next?: number;
  /** Of extended capabilities. */
  readonly version?: number;
  readonly dwords?: Readonly<Record<number, number>>;
}

/** A header, and lists of capabilities that lead from one to the next as they are given. */
export function configBytes(
  options: {
    readonly sizeBytes?: number;
    readonly headerType?: number;
    readonly standard?: readonly BuiltCapability[];
    readonly extended?: readonly BuiltCapability[];
  } = {},
): Uint8Array {
  const { sizeBytes = 4096, headerType = 0, standard = [], extended = [] } = options;
  const view = new DataView(new ArrayBuffer(sizeBytes));
  const set = (at: number, value: number): void => view.setUint32(at, value, true);
  set(0x00, 0x11e8_1234);
  set(0x04, standard.length > 0 ? 0x0010_0007 : 0x0000_0007);
  set(0x08, 0x0108_0201);
  view.setUint8(0x0e, headerType);
  if (standard[0] !== undefined) view.setUint8(headerType === 2 ? 0x14 : 0x34, standard[0].at);
  const fill = ({ at, dwords = {} }: BuiltCapability): void => {
    for (const [offset, value] of Object.entries(dwords)) set(at + Number(offset), value);
  };
  standard.forEach((each, i) => {
    fill(each);
    view.setUint8(each.at, each.id);
    view.setUint8(each.at + 1, each.next ?? standard[i + 1]?.at ?? 0);
  });
  extended.forEach((each, i) => {
    fill(each);
    const next = each.next ?? extended[i + 1]?.at ?? 0;
    set(each.at, (each.id | ((each.version ?? 1) << 16) | (next << 20)) >>> 0);
  });
  return new Uint8Array(view.buffer);
}
