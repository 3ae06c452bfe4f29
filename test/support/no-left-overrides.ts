/** Setup of every test file of the guest: the file fails if it leaves a `driver_override` behind, which binds later what it names. */
import { readdirSync } from "node:fs";
import { afterAll, beforeAll, expect } from "vitest";
import { fileText } from "../../src/sys/kernel-files.js";

const FUNCTIONS = "/sys/bus/pci/devices";

/** Each function that has an override, with it. */
function overrides(): string[] {
  return readdirSync(FUNCTIONS).flatMap((bdf) => {
    const override = fileText(`${FUNCTIONS}/${bdf}/driver_override`)?.trim() ?? "";
    return override === "" || override === "(null)" ? [] : [`${bdf} ${override}`];
  });
}

let before: string[];
beforeAll(() => {
  before = overrides();
});
afterAll(() => {
  expect(overrides(), "driver_override of the machine's functions").toEqual(before);
});
