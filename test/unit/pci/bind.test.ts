/** What can't be bound to vfio-pci, told by its configuration space. */
import { expect, test } from "vitest";
import { headerRefusal } from "../../../src/pci/bind.js";

/** Configuration space with this header type. */
function header(type: number): Uint8Array {
  const config = new Uint8Array(64);
  config[0x0e] = type;
  return config;
}

test("endpoints are accepted, with one function and with several", () => {
  for (const type of [0, 0x80]) expect(headerRefusal(header(type))).toBeUndefined();
});

test("bridges and CardBus bridges are refused with the reason", () => {
  for (const type of [1, 0x81]) expect(headerRefusal(header(type))).toBe("it is a PCI bridge");
  for (const type of [2, 0x82]) expect(headerRefusal(header(type))).toContain("header type is 2");
});
