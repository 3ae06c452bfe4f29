/** Functions with damaged lists of capabilities, opened as devices and shown by the command line. */
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ConfigSnapshot } from "../../../src/doors/pci.js";
import { type RunningEmulator, startEmulator } from "../../../src/emulator/worker.js";
import { ArgumentError, PciDevice, UnsupportedError } from "../../../src/index.js";
import { type CompiledTree, compileTree } from "../../support/compiled.js";
import { configBytes } from "../../support/config-bytes.js";
import { socketPath } from "../../support/emulators.js";
import { compileCli } from "../../support/iova-cli.js";

const program = "test/support/config-main.ts";
let tree: CompiledTree;
beforeAll(() => {
  tree = compileTree(program);
});
afterAll(() => tree[Symbol.dispose]());

async function serve(configSpace: Uint8Array): Promise<RunningEmulator> {
  // What the thread takes in place of edu's options.
  const options = { configSpace } as object;
  const request = { socket: socketPath(), device: "edu", options } as const;
  return await startEmulator(request, pathToFileURL(tree.file(program)));
}

function withId(bytes: Uint8Array, at: number, id: number): Uint8Array {
  bytes[at] = id;
  return bytes;
}

const damaged: [string, Uint8Array, string[]][] = [
  [
    "loops",
    configBytes({
      standard: [
        { at: 0x40, id: 1 },
        { at: 0x50, id: 5, next: 0x40 },
      ],
      extended: [
        { at: 0x100, id: 3 },
        { at: 0x200, id: 1, next: 0x100 },
      ],
    }),
    ["the list of capabilities leads back to 0x40", "the list of extended capabilities leads back to 0x100"],
  ],
  [
    "capabilities that lead to themselves",
    configBytes({
      standard: [{ at: 0x40, id: 1, next: 0x40 }],
      extended: [{ at: 0x100, id: 3, next: 0x100 }],
    }),
    ["the list of capabilities leads back to 0x40", "the list of extended capabilities leads back to 0x100"],
  ],
  [
    "pointers into the header",
    configBytes({
      standard: [{ at: 0x40, id: 1, next: 0x3c }],
      extended: [{ at: 0x100, id: 3, next: 0x40 }],
    }),
    [
      "the list of capabilities leads into the header, to 0x3c",
      "the list of extended capabilities leads to 0x40, where no extended capability can be",
    ],
  ],
  [
    "nothing where the list leads",
    withId(configBytes({ standard: [{ at: 0x40, id: 0x11, next: 0x60 }] }), 0x60, 0xff),
    ["there is no capability at 0x60, where the list leads"],
  ],
];

describe("a device whose configuration space has", () => {
  test.each(damaged)("%s has capabilities up to there, and notes", async (_, bytes, notes) => {
    await using server = await serve(bytes);
    using device = PciDevice.open(server.address);
    const { config } = device;
    const expected = new ConfigSnapshot(bytes);
    expect(config.capabilities()).toEqual(expected.capabilities());
    expect(config.extendedCapabilities()).toEqual(expected.extendedCapabilities());
    expect(config.dump()).toMatchObject({ capabilities: expected.dump().capabilities, notes });
    // What else looks for capabilities.
    expect(device.power.state).toBe("D0");
    expect(device.bar(0).read32(0)).toBe(0);
    device.reset();
  });

  test("unknown and truncated capabilities is opened, and the error names what is cut off", async () => {
    const bytes = configBytes({
      sizeBytes: 256,
      standard: [
        { at: 0x40, id: 0x77 },
        { at: 0xf8, id: 0x10, dwords: { 0: 0x0002_0000 } },
      ],
    });
    await using server = await serve(bytes);
    using device = PciDevice.open(server.address);
    expect(device.config.capabilities().map(({ id }) => id)).toEqual([0x77, 0x10]);
    expect(device.config.capability("msi")).toBeUndefined();
    expect(() => device.config.capability("pcie")).toThrow(UnsupportedError);
    expect(() => device.config.capability("pcie")).toThrow("pcie at 0xf8 is cut off after 8 bytes");
    expect(device.config.extendedCapabilities()).toEqual([]);
  });

  test("an MSI-X capability at its very end, whose table can't be read, is served and opened", async () => {
    const bytes = configBytes({ sizeBytes: 256, standard: [{ at: 0xfc, id: 0x11 }] });
    await using server = await serve(bytes);
    using device = PciDevice.open(server.address);
    expect(device.config.capabilities()).toMatchObject([{ name: "msix", offset: 0xfc }]);
    expect(() => device.enableInterrupts()).toThrow(UnsupportedError);
  });
});

test("a device without interrupts and with one BAR says so, and nothing is left behind by the attempt", async () => {
  await using server = await serve(configBytes());
  using device = PciDevice.open(server.address);
  expect(() => device.enableInterrupts()).toThrow(UnsupportedError);
  expect(() => device.enableInterrupts()).toThrow("has no interrupts");
  for (const kind of ["intx", "msi", "msix"] as const)
    expect(() => device.enableInterrupts({ kind })).toThrow(`has no ${kind}`);
  expect(() => device.bar(1)).toThrow(ArgumentError);
  expect(() => device.bar(0).map()).toThrow(UnsupportedError);
});

describe("iova show", () => {
  const cli = compileCli();
  afterAll(() => cli[Symbol.dispose]());

  test("prints where lists are damaged", async () => {
    for (const [, bytes, notes] of damaged.slice(0, 3)) {
      await using server = await serve(bytes);
      const { status, stdout } = await cli.run(["show", server.address]);
      expect(status).toBe(0);
      for (const note of notes) expect(stdout).toContain(`  note: ${note}\n`);
    }
  });
});
