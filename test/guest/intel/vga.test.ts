/** The legacy ranges of a VGA adapter, which lie at fixed addresses outside its BARs. */
import { expect, test } from "vitest";
import type { DeviceIo } from "../../../src/doors/vfio.js";
import { ArgumentError, PciDevice } from "../../../src/index.js";
import { VFIO_PCI_VGA_REGION_INDEX } from "../../../src/vfio/uapi.js";
import { vgaBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { bindForFile } from "../../support/igb-machine.js";

// I/O ports and memory of a VGA.
const MISC_WRITE = 0x3c2;
const SEQUENCER = 0x3c4;
const GRAPHICS = 0x3ce;
const MISC_READ = 0x3cc;
const FRAME_BUFFER = 0xa0000;
const END_OF_MEMORY = 0xc0000;

bindForFile([vgaBdf]);
expectNothingLeft();

function store(io: DeviceIo, offset: number, ...bytes: number[]): void {
  io.writeRegion(VFIO_PCI_VGA_REGION_INDEX, offset, Uint8Array.from(bytes));
}

function load(io: DeviceIo, offset: number, length: number): number[] {
  const bytes = new Uint8Array(length);
  io.readRegion(VFIO_PCI_VGA_REGION_INDEX, offset, bytes);
  return [...bytes];
}

/** Writes a register behind a pair of index and data ports. */
function index(io: DeviceIo, port: number, register: number, value: number): void {
  store(io, port, register);
  store(io, port + 1, value);
}

test.each(["iommufd", "type1"] as const)("ports and memory of a VGA are reached through %s", (backend) => {
  using device = PciDevice.open(vgaBdf(), { backend });
  const { io } = device;
  expect(io.regionInfo(VFIO_PCI_VGA_REGION_INDEX)).toMatchObject({ sizeBytes: END_OF_MEMORY, mappable: [] });
  // Memory and I/O of a colour adapter are on.
  store(io, MISC_WRITE, 0x63);
  expect(load(io, MISC_READ, 1)).toEqual([0x63]);
  // All planes can be written, as one row of 64 KiB at 0xa0000.
  index(io, SEQUENCER, 2, 0x0f);
  index(io, SEQUENCER, 4, 0x0e);
  index(io, GRAPHICS, 5, 0x40);
  index(io, GRAPHICS, 6, 0x05);
  store(io, FRAME_BUFFER + 8, 1, 2, 3, 4);
  expect(load(io, FRAME_BUFFER + 8, 4)).toEqual([1, 2, 3, 4]);
  expect(() => load(io, END_OF_MEMORY - 1, 2)).toThrow(ArgumentError);
});
