/** `iova nvme get-reg`, `set-reg`, `reset` and `subsystem-reset` on an emulated controller. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { ConfigError } from "../../../../src/core/errors.js";
import { emulate } from "../../../support/emulators.js";
import { iova, iovaJson } from "../../../support/nvme-cli.js";

let emulator: { readonly address: string; close(): Promise<void> };
beforeAll(async () => {
  emulator = await emulate({ device: "nvme", options: { sizeBytes: 16 << 20 } });
});
afterAll(async () => emulator.close());

test("get-reg prints a register of the running controller, by offset or name", async () => {
  const { address } = emulator;
  expect(await iovaJson("get-reg", address, "-O", "0x1c")).toEqual({
    "register: 0x1c": { name: "csts", value: 1 },
  });
  const text = await iova("get-property", address, "--offset", "CSTS");
  expect(text).toMatch(/^CSTS +0x001c : 0x00000001 +Controller Status$/m);
  expect(text).toContain("ready");
  expect(await iovaJson("get-reg", address, "-O", "0x100")).toEqual({
    "register: 0x100": { name: "0x100", value: 0 },
  });
});

test("set-reg writes a register and reads it back", async () => {
  const written = await iovaJson("set-reg", emulator.address, "-O", "aqa", "-V", "1").catch((error) => error);
  expect(written).toBeInstanceOf(ConfigError);
  const masked = await iovaJson("set-reg", emulator.address, "-O", "intms", "-V", "2", "--yes");
  expect(masked).toMatchObject({ "register: 0x0c": { name: "intms" } });
});

test.each([
  [["get-reg"], "needs --offset"],
  [["get-reg", "-O", "everything"], "the name of a register"],
  [["get-reg", "-O", "0x1d"], "no multiple of 4"],
  [["set-reg", "-O", "cc", "-V", "0", "--yes"], "the driver uses this register"],
  [["set-reg", "-O", "0x1000", "-V", "0", "--yes"], "the driver uses this register"],
  [["set-reg", "-O", "intms", "--yes"], "needs --value"],
  [["set-reg", "-O", "intms", "-V", "0x100000000", "--yes"], "is not from 0 to 4294967295"],
  [["set-reg", "-O", "intms", "-V", "1"], "--yes"],
  [["reset"], "--yes"],
  [["subsystem-reset"], "--yes"],
] as const)("nvme %j is refused before anything is opened", async ([name, ...args], reason) => {
  const refusal = iova(name, "vfio-user:/nowhere", ...args);
  await expect(refusal).rejects.toThrow(ConfigError);
  await expect(refusal).rejects.toThrow(reason);
});

test("a register that the controller lacks, or that lies outside, is an error that names it", async () => {
  await expect(iova("get-reg", emulator.address, "-O", "cmbsz")).rejects.toThrow(
    "has no register CMBSZ (CAP)",
  );
  await expect(iova("get-reg", emulator.address, "-O", "0x7ffffff0")).rejects.toThrow(/offset/);
});

test("reset and subsystem-reset start the controller again", async () => {
  const { address } = emulator;
  expect(await iova("reset", address, "--yes")).toBe(`${address} was reset\n`);
  expect(await iovaJson("subsystem-reset", address, "--yes")).toEqual({
    result: `the NVM subsystem of ${address} was reset`,
  });
});
