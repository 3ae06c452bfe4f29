/** The thread that {@link startEmulator} starts: one device and its server. */
import { parentPort, workerData } from "node:worker_threads";
import { VfioUserServer } from "../vfio-user/server.js";
import { EmulatedEdu } from "./edu/device.js";
import { EmulatedNvme } from "./nvme/controller.js";
import type { EmulatorRequest } from "./worker.js";

const request: EmulatorRequest = workerData;
const device =
  request.device === "edu" ? new EmulatedEdu(request.options) : EmulatedNvme.create(request.options);
try {
  const server = new VfioUserServer(request.socket, device);
  if (device instanceof EmulatedNvme) device.onRemove = () => server.disconnect();
  parentPort?.once("message", () => {
    server.close();
    device.close();
    parentPort?.close();
  });
  parentPort?.postMessage("listening");
} catch (error) {
  device.close();
  throw error;
}
