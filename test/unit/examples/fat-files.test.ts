/** The example of a file system: an unchanged library keeps files on a namespace. */
import { randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { mountFat } from "../../../examples/fat-files.js";
import { caught } from "../../support/caught.js";
import { MIB, openController, useEmulatedNvme } from "../../support/emulated-nvme.js";
import { fat16Image } from "../../support/fat16.js";

useEmulatedNvme();

test.each([512, 4096] as const)("fatfs keeps files on blocks of %i bytes", async (blockSizeBytes) => {
  const nvme = await openController({ sizeBytes: 16 * MIB, blockSizeBytes });
  const ns = await nvme.namespace(1);
  await using file = ns.openFile();
  await file.write(fat16Image(16 * MIB), 0);
  const letter = randomBytes(50_000);
  {
    const fs = await mountFat(file);
    await promisify(fs.writeFile)("/LETTER.BIN", letter);
    await promisify(fs.writeFile)("/SHORT.TXT", Buffer.from("a line\n"));
  }
  // Mounted again: all of it is on the medium.
  const fs = await mountFat(file);
  expect((await promisify(fs.readdir)("/")).sort()).toEqual(["LETTER.BIN", "SHORT.TXT"]);
  expect(letter.equals(await promisify(fs.readFile)("/LETTER.BIN"))).toBe(true);
  expect(String(await promisify(fs.readFile)("/SHORT.TXT"))).toBe("a line\n");
  const medium = Buffer.from(await ns.read(0, 16 * MIB));
  expect(medium.includes(letter.subarray(0, 2048))).toBe(true);
});

test("a namespace without a file system is the library's error", async () => {
  const nvme = await openController();
  await using file = (await nvme.namespace(1)).openFile();
  expect(await caught(mountFat(file))).toBeInstanceOf(Error);
});
