/** `iova show` as a process, on an emulated edu and on what isn't there. */
import { afterAll, expect, test } from "vitest";
import { emulate } from "../../support/emulators.js";
import { compileCli } from "../../support/iova-cli.js";

const cli = compileCli();
afterAll(() => cli[Symbol.dispose]());

test("prints header and capabilities of a vfio-user device, and the same as JSON", async () => {
  const emulator = await emulate({ device: "edu", options: {} });
  try {
    const { status, stdout } = await cli.run(["show", emulator.address]);
    expect(status).toBe(0);
    const lines = stdout.split("\n");
    expect(lines[0]).toBe(`${emulator.address}  00ff00  1234:11e8 (rev 10)`);
    expect(lines).toContain("  BAR 0: memory, 1048576 bytes");
    expect(stdout).toMatch(/^ {4}command: 0x0\d{3} {2}ioSpace\+ {2}memorySpace\+ {2}busMaster/m);
    expect(stdout).toMatch(
      /^ {2}\[[0-9a-f]{2}\] MSI \(msi\)\n {4}control: 0x\d{4} {2}enable- {2}capable=1 /m,
    );
    expect(await cli.json("show", emulator.address)).toMatchObject({
      vendorId: 0x1234,
      bars: [{ index: 0 }],
      kind: "device",
      header: expect.arrayContaining([{ name: "deviceId", offset: 2, value: "0x11e8", fields: {} }]),
      capabilities: [{ name: "msi", id: 5, extended: false, notes: [] }],
      notes: [],
    });
  } finally {
    await emulator.close();
  }
});

test("rejects an address that has no device, and a command line without one", async () => {
  expect(await cli.run(["show", "ffff:ff:1f.7"])).toMatchObject({
    status: 1,
    stdout: "",
    stderr: "iova: there is no PCI device ffff:ff:1f.7\n",
  });
  expect(await cli.run(["show"])).toMatchObject({
    status: 2,
    stderr: "iova: show takes one BDF; see iova show --help\n",
  });
});
