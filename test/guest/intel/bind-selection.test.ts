/** Which functions a command line means, on a machine with many. */
import { expect, test } from "vitest";
import { selectFunctions, type WantedFunctions } from "../../../src/cli/binding/selection.js";
import { listPciFunctions } from "../../../src/pci/sysfs.js";

const command = { name: "bind" };
const nothing: WantedFunctions = { addresses: [], classes: [], ids: [], group: false };
const here = listPciFunctions();

test("finds each function once, by its address, class and ids, in order", () => {
  const ofAll = (each: (fn: (typeof here)[number]) => string): string[] => here.map(each);
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
  const addresses = ofAll(({ bdf }) => bdf);
  const bdfs = (wanted: Partial<WantedFunctions>) =>
    selectFunctions(command, { ...nothing, ...wanted }).map(({ bdf }) => bdf);
  expect(bdfs({ addresses: [...addresses, ...addresses].reverse() })).toEqual(addresses);
  expect(bdfs({ classes: ofAll(({ classCode }) => hex(classCode, 6)) })).toEqual(addresses);
  expect(bdfs({ classes: ofAll(({ classCode }) => `0x${hex(classCode >>> 16, 2)}`) })).toEqual(addresses);
  expect(bdfs({ ids: ofAll((fn) => `${hex(fn.vendorId, 4)}:${hex(fn.deviceId, 4)}`) })).toEqual(addresses);
});
