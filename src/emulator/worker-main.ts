/** The thread that {@link startEmulator} starts: one device and its server. */
import { parentPort, workerData } from "node:worker_threads";
import { errorToMessage } from "../core/error-message.js";
import { ConfigError, IovaError } from "../core/errors.js";
import type { EmulatedDevice } from "../vfio-user/server/emulated-device.js";
import { VfioUserServer } from "../vfio-user/server/server.js";
import { type EduFault, EmulatedEdu } from "./edu/device.js";
import type { InjectedFault } from "./faults/counter.js";
import { EmulatedNvme } from "./nvme/controller.js";
import type { FaultOptions } from "./nvme/faults.js";
import { makeOwnDevice } from "./own-device.js";
import { servePeer } from "./peer-server.js";
import type { InjectOrder, NumberedOrder, OrderAnswer, ThreadRequest } from "./worker.js";

const request: ThreadRequest = workerData;
let device: EmulatedDevice | undefined;
/** What takes the orders about faults, unless the device is an NVMe controller. */
let faults: Pick<EmulatedEdu, "inject" | "clearFaults"> | undefined;
/** What takes messages: a device of the user's own. */
let takeMessage: ((message: unknown) => unknown) | undefined;
/** By the number of the order. They stay until the thread ends, since the other side can count their hits. */
const injected = new Map<number, InjectedFault>();
try {
  device = await makeDevice(request);
  const server = new VfioUserServer(request.socket, device, request.server);
  if (device instanceof EmulatedNvme) device.onRemove = () => server.disconnect();
  const peerServers = servePeers(device, request);
  parentPort?.on("message", (message: "close" | NumberedOrder) => {
    if (message !== "close") {
      void answer(message);
      return;
    }
    for (const each of peerServers) each.close();
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

function servePeers(first: EmulatedDevice, request: ThreadRequest): VfioUserServer[] {
  if (!(first instanceof EmulatedNvme) || !("peers" in request)) return [];
  return (request.peers ?? []).map((socket) => servePeer(first, socket, request.server));
}

async function makeDevice(request: ThreadRequest): Promise<EmulatedDevice> {
  if ("module" in request) {
    const own = await makeOwnDevice(request.module, request.options);
    faults = own.faults;
    takeMessage = own.order;
    return own.device;
  }
  if (request.device === "nvme") return EmulatedNvme.create(request.options);
  const edu = new EmulatedEdu(request.options);
  faults = edu;
  return edu;
}

async function answer(numbered: NumberedOrder): Promise<void> {
  const { number, order } = numbered;
  const post = (answer: OrderAnswer): void => parentPort?.postMessage(answer);
  try {
    const outcome = carryOut(numbered);
    // At once where it can be: faults are in force when the answer is here.
    post({ number, failure: undefined, result: outcome instanceof Promise ? await outcome : outcome });
  } catch (error) {
    // What a device's own method throws, or gives that can't be sent, is for the one who called it.
    if (!(error instanceof IovaError) && order.kind !== "device") throw error;
    post({ number, failure: errorToMessage(error), result: undefined });
  }
}

/** @returns the order's result, or a promise of it @throws ConfigError, also for what this device can't do */
function carryOut({ number, order }: NumberedOrder): unknown {
  switch (order.kind) {
    case "countHits":
      return injected.get(order.fault)?.hits;
    case "removeFault":
      injected.get(order.fault)?.remove();
      return undefined;
    case "inject": {
      const fault = inject(order);
      injected.set(number, fault);
      return undefined;
    }
    case "device":
      if (takeMessage === undefined) break;
      return takeMessage(order.message);
    case "clearFaults":
      if (faults === undefined) break;
      faults.clearFaults();
      return undefined;
    default:
  }
  if (!(device instanceof EmulatedNvme)) throw unknownOrder(order);
  carryOutByNvme(device, order);
  return undefined;
}

/** @throws ConfigError */
function inject(order: InjectOrder): InjectedFault {
  // Each checks the fault.
  if (faults !== undefined) return faults.inject(order.fault as EduFault);
  if (device instanceof EmulatedNvme) return device.inject(order.fault as FaultOptions);
  throw unknownOrder(order);
}

function unknownOrder(order: { readonly kind: string }): ConfigError {
  return new ConfigError(`${device?.name} has no order ${String(Object(order).kind)}`);
}

/** @throws ConfigError */
function carryOutByNvme(controller: EmulatedNvme, order: NumberedOrder["order"]): void {
  switch (order.kind) {
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
