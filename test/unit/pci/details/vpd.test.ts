/** Vital product data: as specified, damaged, and at random. */
import { describe, expect, test } from "vitest";
import { type PciVpd, type PciVpdField, parseVpd } from "../../../../src/doors/pci.js";
import { ArgumentError } from "../../../../src/index.js";

const ascii = (text: string): number[] => [...Buffer.from(text, "latin1")];
const large = (tag: number, data: readonly number[]): number[] => [
  tag,
  data.length & 0xff,
  data.length >> 8,
  ...data,
];
const field = (keyword: string, value: string | readonly number[]): number[] => {
  const data = typeof value === "string" ? ascii(value) : value;
  return [...ascii(keyword), data.length, ...data];
};
const END = 0x78;

/** A read-only part whose checksum makes all bytes to it add up to 0. */
function withChecksum(before: readonly number[], fields: readonly number[], wrongBy = 0): number[] {
  const part = large(0x90, [...fields, ...field("RV", [0, 0, 0])]);
  const bytes = [...before, ...part];
  const at = bytes.length - 3;
  const sum = bytes.slice(0, at).reduce((total, byte) => total + byte, 0);
  bytes[at] = (256 - (sum & 0xff) + wrongBy) & 0xff;
  return bytes;
}

const parse = (...bytes: number[]): PciVpd => parseVpd(Uint8Array.from(bytes));
const keywords = (fields: readonly PciVpdField[]): string[] => fields.map(({ keyword }) => keyword);

describe("vital product data", () => {
  const name = large(0x82, ascii("Ethernet adapter, two ports"));
  const fields = [
    ...field("PN", "A1234-001 "),
    ...field("SN", "00e0ed123456\0\0"),
    ...field("V1", [0, 0xff, 0x10]),
    ...field("ZZ", ""),
  ];
  const writable = large(0x91, [...field("YA", "rack 7"), ...field("Y2", "x"), ...field("RW", [0, 0, 0, 0])]);

  test("have a product name, fields with titles, a checksum and free bytes", () => {
    const vpd = parse(...withChecksum(name, fields), ...writable, END, 1, 2, 3);
    expect(vpd).toEqual({
      productName: "Ethernet adapter, two ports",
      readOnly: [
        { keyword: "PN", title: "Part number", text: "A1234-001", bytes: "41313233342d30303120" },
        {
          keyword: "SN",
          title: "Serial number",
          text: "00e0ed123456",
          bytes: expect.stringMatching(/0000$/),
        },
        { keyword: "V1", title: "Vendor specific", text: undefined, bytes: "00ff10" },
        { keyword: "ZZ", title: "Unknown", text: "", bytes: "" },
        expect.objectContaining({ keyword: "RV", title: "Checksum and reserved bytes" }),
      ],
      readWrite: [
        { keyword: "YA", title: "Asset tag", text: "rack 7", bytes: "7261636b2037" },
        { keyword: "Y2", title: "System specific", text: "x", bytes: "78" },
      ],
      checksum: "good",
      freeBytes: 4,
      notes: [],
    });
  });

  test("say that a checksum is wrong, or missing", () => {
    expect(parse(...withChecksum(name, fields, 1), END)).toMatchObject({ checksum: "bad", notes: [] });
    expect(parse(...name, ...large(0x90, fields), END)).toMatchObject({ checksum: undefined, notes: [] });
    expect(parse(...large(0x90, field("RV", "")), END)).toMatchObject({ checksum: undefined });
  });

  test("are read up to the end tag, whatever length it gives", () => {
    expect(parse(END | 7, ...name)).toMatchObject({ productName: undefined, notes: [] });
  });
});

describe("damaged vital product data", () => {
  test.each([
    ["no bytes", [], "there is no end tag"],
    ["zeros", [0, 0, 0, 0], "resource 0x00 at byte 0 is of an unknown kind: nothing after it is decoded"],
    [
      "ones",
      [0xff, 0xff, 0xff, 0xff],
      "resource 0xff at byte 0 says that it has 65535 bytes, but only 1 follow",
    ],
    [
      "a header that is cut off",
      [0x82, 1],
      "resource 0x82 at byte 0 is cut off: nothing after it is decoded",
    ],
    ["another resource", [...large(0xa0, [1, 2]), END], "resource 0xa0 at byte 0 is of an unknown kind"],
    [
      "a small resource",
      [0x33, 1, 2, 3, END],
      "resource 0x33 at byte 0 is of an unknown kind: nothing after it",
    ],
    ["no end", large(0x82, ascii("x")), "there is no end tag"],
    [
      "a keyword of zeros",
      [...large(0x90, [0, 0, 0, 0, 0, 0]), END],
      "there is no keyword at byte 3: the rest of its",
    ],
    ["half a field", [...large(0x90, ascii("PN")), END], "2 bytes at byte 3 are too few for a field"],
    [
      "a field that is too long",
      [...large(0x90, [...ascii("PN"), 9, 0x41]), END],
      "field PN at byte 3 says that it has 9 bytes, but only 1 follow",
    ],
  ])("have a note on %s", (_, bytes, note) => {
    expect(parse(...bytes).notes.join("\n")).toContain(note);
  });

  test("keep what comes before the damage, and what follows an unknown resource", () => {
    const vpd = parse(
      ...large(0x82, ascii("name")),
      ...large(0xa0, [1]),
      ...large(0x90, [...field("PN", "1"), ...ascii("SN"), 200, 0x39]),
      END,
    );
    expect(vpd).toMatchObject({
      productName: "name",
      readOnly: [{ text: "1" }, { keyword: "SN", text: "9" }],
    });
    expect(vpd.notes).toHaveLength(2);
  });

  test("with thousands of unknown resources have few notes", () => {
    expect(parse(...Array.from({ length: 9000 }, () => [0xa0, 0, 0]).flat()).notes).toHaveLength(9);
  });

  test("with many empty fields have each of them", () => {
    const vpd = parse(...large(0x90, Array.from({ length: 5000 }, () => field("V0", "")).flat()), END);
    expect(keywords(vpd.readOnly)).toHaveLength(5000);
  });

  test("of any bytes give no more fields than these can hold, and are the same each time", () => {
    // Numerical Recipes' generator: the same bytes on every run.
    let state = 1;
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const likely = [0x82, 0x90, 0x91, END, 0x50, 0x4e, 0x52, 0x56, 0, 1, 2, 3];
    for (let round = 0; round < 3000; round++) {
      const bytes = Uint8Array.from({ length: random(200) }, () =>
        random(3) === 0 ? random(256) : (likely[random(likely.length)] ?? 0),
      );
      const vpd = parseVpd(bytes);
      const count = vpd.readOnly.length + vpd.readWrite.length;
      expect(count * 3).toBeLessThanOrEqual(bytes.length);
      expect(vpd.notes.length).toBeLessThanOrEqual(bytes.length / 3 + 2);
      expect(parseVpd(bytes)).toEqual(vpd);
    }
  });

  test("can be part of a larger buffer", () => {
    const all = Uint8Array.from([9, 9, ...large(0x82, ascii("part")), END, 9]);
    expect(parseVpd(all.subarray(2, -1))).toMatchObject({ productName: "part", notes: [] });
  });

  test("are rejected if they aren't bytes, or more than an address of 15 bits reaches", () => {
    expect(() => parseVpd("x" as unknown as Uint8Array)).toThrow(ArgumentError);
    expect(() => parseVpd(new Uint8Array(0x8001))).toThrow(/length of the vital product data/);
    expect(parseVpd(new Uint8Array(0x8000)).notes).toHaveLength(2);
  });
});
