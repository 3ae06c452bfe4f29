/**
 * A thread that serves a function whose BARs differ in how they can be reached. Offset 0 of BAR 1 reads how many accesses to
 * BAR 0 came by message, and offset 4 the width of the last one in bytes.
 */
import { parentPort, workerData } from "node:worker_threads";
import { MappedMemory } from "../../src/sys/memory.js";
import type { EmulatedBar, EmulatedDevice } from "../../src/vfio-user/server/emulated-device.js";
import { VfioUserServer } from "../../src/vfio-user/server/server.js";

const PAGE = 4096;
const BAR_BYTES = 8 * PAGE;
/** Pages of BAR 0 that can be mapped: 1, and 3 to 4. The MSI-X table is in page 2. */
const AREAS = [
  [1, 1],
  [3, 2],
] as const;
const TABLE_PAGE = 2;
const MSIX_AT = 0x40;
const POWER_AT = 0x50;

const memory = MappedMemory.memfd(BAR_BYTES);
let messages = 0;
let width = 0;
const sparse: EmulatedBar = {
  sizeBytes: BAR_BYTES,
  mappable: AREAS.map(([page, count]) => ({
    offset: page * PAGE,
    sizeBytes: count * PAGE,
    fd: memory.fd,
    fdOffset: page * PAGE,
  })),
  read(offset, target) {
    messages++;
    width = target.length;
    target.set(memory.bytes.subarray(offset, offset + target.length));
  },
  write(offset, source) {
    messages++;
    width = source.length;
    memory.bytes.set(source, offset);
  },
};
const ports: EmulatedBar = {
  sizeBytes: 16,
  isIo: true,
  read(offset, target) {
    const bytes = new Uint8Array(Uint32Array.of(messages, width, 0, 0).buffer);
    target.set(bytes.subarray(offset, offset + target.length));
  },
  write() {
    messages = 0;
  },
};
const small: EmulatedBar = { ...sparse, sizeBytes: 256, mappable: [], isPrefetchable: true, is64Bit: true };

const configSpace = new Uint8Array(256);
const config = new DataView(configSpace.buffer);
config.setUint32(0x00, 0x0001_1af4, true);
configSpace[0x06] = 0x10;
config.setUint32(0x14, 1, true);
config.setUint32(0x18, 0xc, true);
configSpace[0x34] = MSIX_AT;
configSpace.set([0x11, POWER_AT, 1, 0], MSIX_AT);
config.setUint32(MSIX_AT + 4, TABLE_PAGE * PAGE, true);
config.setUint32(MSIX_AT + 8, TABLE_PAGE * PAGE + 0x800, true);
configSpace.set([0x01, 0], POWER_AT);

const device: EmulatedDevice = {
  name: "BARs of all kinds",
  configSpace,
  bars: [sparse, ports, small, undefined, undefined, undefined],
  vectors: { intx: 0, msi: 0, msix: 2 },
  connect: () => undefined,
  disconnect: () => undefined,
  reset: () => undefined,
  close: () => undefined,
};
const server = new VfioUserServer(workerData.socket, device);
parentPort?.on("message", () => {
  server.close();
  memory.close();
  parentPort?.close();
});
parentPort?.postMessage(undefined);
