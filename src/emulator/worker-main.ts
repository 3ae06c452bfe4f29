/** The thread that {@link startEmulator} starts: one device and its server. */
import { parentPort, workerData } from "node:worker_threads";
import { errorToMessage } from "../core/error-message.js";
import { ConfigError, IovaError } from "../core/errors.js";
import type { EmulatedDevice } from "../vfio-user/server/emulated-device.js";
import { VfioUserServer } from "../vfio-user/server/server.js";
import { type EduFault, EmulatedEdu } from "./edu/device.js";
import { EmulatedNvme } from "./nvme/controller.js";
import type { FaultOptions } from "./nvme/faults.js";
import { makeOwnDevice } from "./own-device.js";
import type { EmulatorOrder, NumberedOrder, OrderAnswer, ThreadRequest } from "./worker.js";

const request: ThreadRequest = workerData;
let device: EmulatedDevice | undefined;
/** What takes the orders about faults, unless the device is an NVMe controller. */
let faults: Pick<EmulatedEdu, "inject" | "clearFaults"> | undefined;
try {
  device = await makeDevice(request);
  const server = new VfioUserServer(request.socket, device, request.server);
  if (device instanceof EmulatedNvme) device.onRemove = () => server.disconnect();
  parentPort?.on("message", (message: "close" | NumberedOrder) => {
    if (message !== "close") {
      parentPort?.postMessage(answer(message));
      return;
    }
    server.close();
    device?.close();
    parentPort?.close();
    // A device of the user's own may have timers left.
    if ("module" in request) process.exit();
  });
  parentPort?.postMessage(undefined);
} catch (error) {
  device?.close();
  if (!(error instanceof IovaError)) throw error;
  parentPort?.postMessage(errorToMessage(error));
  parentPort?.close();
}

async function makeDevice(request: ThreadRequest): Promise<EmulatedDevice> {
  if ("module" in request) {
    const own = await makeOwnDevice(request.module, request.options);
    faults = own.faults;
    return own.device;
  }
  if (request.device === "nvme") return EmulatedNvme.create(request.options);
  const edu = new EmulatedEdu(request.options);
  faults = edu;
  return edu;
}

function answer({ number, order }: NumberedOrder): OrderAnswer {
  try {
    carryOut(order);
    return { number, failure: undefined };
  } catch (error) {
    if (!(error instanceof IovaError)) throw error;
    return { number, failure: errorToMessage(error) };
  }
}

/** @throws ConfigError, also for what this device can't do */
function carryOut(order: EmulatorOrder): void {
  // Each checks the fault.
  if (faults !== undefined && order.kind === "inject") faults.inject(order.fault as EduFault);
  else if (faults !== undefined && order.kind === "clearFaults") faults.clearFaults();
  else if (device instanceof EmulatedNvme) carryOutByNvme(device, order);
  else throw new ConfigError(`${device?.name} has no order ${String(Object(order).kind)}`);
}

/** @throws ConfigError */
function carryOutByNvme(controller: EmulatedNvme, order: EmulatorOrder): void {
  switch (order.kind) {
    case "inject":
      controller.inject(order.fault as FaultOptions);
      return;
    case "clearFaults":
      controller.clearFaults();
      return;
    case "setAnaState":
      controller.setAnaState(order.group, order.state);
      return;
    case "captureTelemetry":
      controller.captureTelemetry(String(order.reason));
      return;
    default:
      throw new ConfigError(`an emulator has no order ${String(Object(order).kind)}`);
  }
}
