/** The thread that {@link startEmulator} starts: one device and its server. */
import { parentPort, workerData } from "node:worker_threads";
import { IovaError } from "../sys/errors.js";
import type { EmulatedDevice } from "../vfio-user/emulated-device.js";
import { VfioUserServer } from "../vfio-user/server.js";
import { EmulatedEdu } from "./edu/device.js";
import { EmulatedNvme } from "./nvme/controller.js";
import type { EmulatorFailure, EmulatorRequest } from "./worker.js";

const request: EmulatorRequest = workerData;
let device: EmulatedDevice | undefined;
try {
  device = request.device === "edu" ? new EmulatedEdu(request.options) : EmulatedNvme.create(request.options);
  const server = new VfioUserServer(request.socket, device);
  if (device instanceof EmulatedNvme) device.onRemove = () => server.disconnect();
  parentPort?.once("message", () => {
    server.close();
    device?.close();
    parentPort?.close();
  });
  parentPort?.postMessage(undefined);
} catch (error) {
  device?.close();
  if (!(error instanceof IovaError)) throw error;
  const failure: EmulatorFailure = { code: error.code, message: error.message };
  parentPort?.postMessage(failure);
  parentPort?.close();
}
