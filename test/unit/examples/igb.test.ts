/** What the example's driver for the 82576 does without a device: headers, checksums, addresses. */
import { describe, expect, test } from "vitest";
import { headersOf, prepareChecksums, sumWords } from "../../../examples/drivers/igb/headers.js";
import { formatMac, parseMac } from "../../../examples/drivers/igb/mac.js";
import { ipFrame, plainFrame, transportChecksumAt } from "../../support/frames.js";

const OURS = "52:54:00:00:00:01";
const THEIRS = "52:54:00:00:00:02";
const base = { sourcePort: 1000, destinationPort: 2000, data: Buffer.from("an odd number of bytes.") };
const kinds = ([4, 6] as const).flatMap((version) =>
  (["tcp", "udp"] as const).map((transport) => ({ version, transport })),
);

describe("headersOf()", () => {
  test.each(kinds)("finds $transport in IPv$version, with and without a VLAN tag", (kind) => {
    const frame = ipFrame(THEIRS, OURS, { ...base, ...kind });
    const ipBytes = kind.version === 4 ? 20 : 40;
    expect(headersOf(frame)).toEqual({ macBytes: 14, ipBytes, ...kind });
    const tagged = Buffer.concat([frame.subarray(0, 12), Buffer.from("81000007", "hex"), frame.subarray(12)]);
    expect(headersOf(tagged)).toEqual({ macBytes: 18, ipBytes, ...kind });
  });

  test("finds no transport header in fragments, unknown protocols and what is cut off", () => {
    const frame = ipFrame(THEIRS, OURS, { ...base, version: 4, transport: "udp" });
    for (const [at, byte] of [
      [20, 0x20],
      [21, 1],
      [23, 1],
    ] as const) {
      const changed = Buffer.from(frame);
      changed[at] = byte;
      expect(headersOf(changed), `${at}`).toEqual({
        macBytes: 14,
        ipBytes: 20,
        version: 4,
        transport: undefined,
      });
    }
    expect(headersOf(frame.subarray(0, 41))?.transport).toBeUndefined();
  });

  test("finds nothing in other frames", () => {
    const frame = ipFrame(THEIRS, OURS, { ...base, version: 4, transport: "udp" });
    const short = Buffer.from(frame);
    short[14] = 0x44;
    expect(headersOf(short)).toBeUndefined();
    expect(headersOf(frame.subarray(0, 33))).toBeUndefined();
    expect(headersOf(plainFrame(THEIRS, OURS, Buffer.alloc(46)))).toBeUndefined();
    expect(headersOf(Buffer.alloc(14))).toBeUndefined();
  });
});

test.each(kinds)(
  "prepareChecksums() leaves to the device the sum of $transport in IPv$version",
  ({ version, transport }) => {
    const right = ipFrame(THEIRS, OURS, { ...base, version, transport });
    const prepared = Buffer.from(right);
    const at = transportChecksumAt({ version, transport });
    prepared.writeUInt16BE(0xdead, at);
    const headers = headersOf(prepared);
    if (headers === undefined) throw new Error("no headers");
    prepareChecksums(prepared, headers);
    // What the device does: it sums up the segment, whose checksum field holds the pseudo header's sum.
    const start = headers.macBytes + headers.ipBytes;
    prepared.writeUInt16BE(~sumWords(prepared, start, prepared.length) & 0xffff, at);
    if (version === 4) prepared.writeUInt16BE(~sumWords(prepared, 14, 34) & 0xffff, 24);
    expect(prepared.toString("hex")).toBe(right.toString("hex"));
  },
);

test("parseMac() and formatMac() are each other's inverse, and parseMac() rejects malformed addresses", () => {
  expect(formatMac(parseMac("52:54:00:AB:cd:ef"))).toBe("52:54:00:ab:cd:ef");
  for (const text of ["", "52:54:00:ab:cd", "52:54:00:ab:cd:eg", "52-54-00-ab-cd-ef", "52:54:00:ab:cd:ef:00"])
    expect(() => parseMac(text), text).toThrow("an address is such as 52:54:00:12:34:56");
});
