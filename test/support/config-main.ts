/** A thread that serves a function with the configuration space in its options, one small BAR and no interrupts. */
import { parentPort, workerData } from "node:worker_threads";
import type { EmulatedDevice } from "../../src/vfio-user/server/emulated-device.js";
import { VfioUserServer } from "../../src/vfio-user/server/server.js";

const device: EmulatedDevice = {
  name: "a function with a given configuration space",
  configSpace: workerData.options.configSpace,
  bars: [{ sizeBytes: 4096, read: (_, target) => target.fill(0), write: () => undefined }],
  vectors: { intx: 0, msi: 0, msix: 0 },
  connect: () => undefined,
  disconnect: () => undefined,
  reset: () => undefined,
  close: () => undefined,
};
const server = new VfioUserServer(workerData.socket, device);
parentPort?.on("message", () => {
  server.close();
  parentPort?.close();
});
parentPort?.postMessage(undefined);
