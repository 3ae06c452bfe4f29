/** The fuzzer's guard for the functions of the machine that runs it. */
import { expect, test } from "vitest";
import { listPciFunctions } from "../../src/pci/sysfs.js";
import { freeAddress, namesHostFunction } from "../support/host-functions.js";

const exists = (address: string): boolean => address === "0000:ff:1f.7";

test("an address for made-up calls belongs to no function of this machine", () => {
  expect(freeAddress(0, exists)).toBe("0001:ff:1f.7");
  expect(freeAddress(0xffff, exists)).toBe("ffff:ff:1f.7");
  expect(listPciFunctions().map(({ bdf }) => bdf)).not.toContain(freeAddress(0));
});

const throwing = new Proxy(
  {},
  {
    getPrototypeOf() {
      throw new Error("not for you");
    },
  },
);

test.each<[string, unknown, boolean]>([
  ["an address", "0000:ff:1f.7", true],
  ["an address without domain", "ff:1f.7", true],
  ["an address in capitals", "0000:FF:1F.7", true],
  ["a function that a server lends", "served:/run/iova.sock@0000:ff:1f.7", true],
  ["an address in an object", { bdf: ["0000:ff:1f.7"] }, true],
  ["an address of no function", "0001:ff:1f.7", false],
  ["an object without addresses", { bdf: 7, none: null }, false],
  ["bytes", new Uint8Array(8), false],
  ["an object that throws", throwing, false],
])("%s among made-up arguments may name a function of this machine", (_what, value, names) => {
  expect(namesHostFunction([value], exists)).toBe(names);
});
