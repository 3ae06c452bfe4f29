/**
 * Setup of every test file of the guest: the file fails if it leaves a setting behind that the next file would meet.
 *
 * These are a function's `driver_override`, which binds later what it names, and the parameters of iommufd's and VFIO's modules.
 */
import { readdirSync } from "node:fs";
import { afterAll, beforeAll, expect } from "vitest";
import { fileText } from "../../src/sys/kernel-files.js";
import { moduleParameters } from "./module-parameters.js";

const FUNCTIONS = "/sys/bus/pci/devices";

/** Each function that has an override, with it. */
function overrides(): string[] {
  return readdirSync(FUNCTIONS).flatMap((bdf) => {
    const override = fileText(`${FUNCTIONS}/${bdf}/driver_override`)?.trim() ?? "";
    return override === "" || override === "(null)" ? [] : [`${bdf} ${override}`];
  });
}

let overridesBefore: string[];
let parametersBefore: Map<string, string>;
beforeAll(() => {
  overridesBefore = overrides();
  parametersBefore = moduleParameters();
});
afterAll(() => {
  expect(overrides(), "driver_override of the machine's functions").toEqual(overridesBefore);
  // A module may have come or gone with the file's tests: only what is there at both times is compared.
  const after = [...moduleParameters()].filter(([path]) => parametersBefore.has(path));
  const before = after.map(([path]) => [path, parametersBefore.get(path)]);
  expect(after, "parameters of the kernel's modules").toEqual(before);
});
