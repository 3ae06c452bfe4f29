/** The list of PCI capabilities, read from configuration spaces that the tests make. */
import { expect, test } from "vitest";
import { pciCapabilities } from "../../../src/vfio/pci-capabilities.js";

/** A configuration space with these bytes, by offset. */
function space(bytes: Readonly<Record<number, number>>): (offset: number, target: Uint8Array) => void {
  const config = new Uint8Array(256);
  for (const [offset, value] of Object.entries(bytes)) config[Number(offset)] = value;
  return (offset, target) => target.set(config.subarray(offset, offset + target.length));
}

const walk = (bytes: Readonly<Record<number, number>>) => [...pciCapabilities(space(bytes))];
const HAS_LIST = 0x10;

test("pciCapabilities() returns capabilities in the order of the list, without the two reserved bits of their offsets", () => {
  const config = { 6: HAS_LIST, 52: 0x83, 128: 0x11, 129: 0x43, 64: 0x05 };
  expect(walk(config)).toEqual([
    { id: 0x11, offset: 0x80 },
    { id: 0x05, offset: 0x40 },
  ]);
});

test("pciCapabilities() returns nothing if the status register says that there is no list", () => {
  expect(walk({ 52: 0x40, 64: 0x11 })).toEqual([]);
});

test("pciCapabilities() ends when the list returns to its start", () => {
  const config = { 6: HAS_LIST, 52: 0x40, 64: 0x01, 65: 0x50, 80: 0x05, 81: 0x40 };
  expect(walk(config)).toHaveLength(2);
});

test("pciCapabilities() ends at an offset inside the header", () => {
  expect(walk({ 6: HAS_LIST, 52: 0x3c })).toEqual([]);
});

test("pciCapabilities() returns nothing for a removed function, which answers all ones", () => {
  expect([...pciCapabilities((_, target) => target.fill(0xff))]).toEqual([]);
});
