/** Starts an emulated device on a thread of its own, and talks to it. */
import { Worker } from "node:worker_threads";
import { checkObject, checkString, show } from "../core/check.js";
import { type ErrorMessage, errorFromMessage } from "../core/error-message.js";
import { ArgumentError, ClosedError } from "../core/errors.js";
import { assertRuntime } from "../core/platform.js";
import type { AnaStateName } from "../nvme/spec/log-pages.js";
import type { BlockSpec } from "../registers/declaration.js";
import type { VfioUserServerOptions } from "../vfio-user/server/server.js";
import type { EduFault, EduOptions } from "./edu/device.js";
import type { DeviceFault } from "./faults/options.js";
import type { FaultOptions } from "./nvme/faults.js";
import type { NvmeEmulatorOptions } from "./nvme/options.js";
import { startWorker } from "./worker-program.js";

/** Options of the server of {@link startEmulator}, whose notices are process warnings. */
export type EmulatorServerOptions = Omit<VfioUserServerOptions, "onNotice">;

/** What to emulate, and where. */
export type EmulatorRequest =
  | {
      /** Path of the socket to serve. A socket without a server is replaced. */
      readonly socket: string;
      /** QEMU's educational PCI device. */
      readonly device: "edu";
      /** Options of the device. */
      readonly options: EduOptions;
      /** Options of its server. */
      readonly server?: EmulatorServerOptions | undefined;
    }
  | {
      /** Path of the socket to serve. A socket without a server is replaced. */
      readonly socket: string;
      /** An NVMe controller. */
      readonly device: "nvme";
      /** Options of the controller. */
      readonly options: NvmeEmulatorOptions;
      /** Sockets of further controllers of the same NVM subsystem, see {@link EmulatedNvme.peer}. Orders are for the first. */
      readonly peers?: readonly string[] | undefined;
      /** Options of its server. */
      readonly server?: EmulatorServerOptions | undefined;
    }
  | {
      /** Path of the socket to serve. A socket without a server is replaced. */
      readonly socket: string;
      /**
       * A device of your own: a `file:` URL of the module whose default export is its class, an {@link EmulatedDevice}. Node.js
       * must be able to load it, so it is compiled: `new URL("./device.js", import.meta.url)`. If the class has a member `faults`,
       * a {@link DeviceFaults}, the device is served with these faults, and takes orders about them. If it has a method
       * `order(message)`, it takes messages of `order({ kind: "device", message })`.
       */
      readonly device: URL;
      /** Argument of the class, as `structuredClone()` copies it. */
      readonly options?: unknown;
      /** Options of its server. */
      readonly server?: EmulatorServerOptions | undefined;
    };

/** A request for a device of the user's own. */
type OwnDeviceRequest = Extract<EmulatorRequest, { readonly device: URL }>;

/** A request as the thread gets it: a URL can't be sent to it. */
export type ThreadRequest =
  | Exclude<EmulatorRequest, OwnDeviceRequest>
  | {
      readonly socket: string;
      readonly module: string;
      readonly options: unknown;
      readonly server: EmulatorServerOptions | undefined;
    };

/** The names that `device` of an {@link EmulatorRequest} can be, if it is no URL. */
export const emulatedDeviceNames = ["nvme", "edu"] as const;

/** @throws ArgumentError */
function threadRequest(request: EmulatorRequest): ThreadRequest {
  checkObject("the emulator's request", request);
  checkString("socket", request.socket);
  if (isOwnDevice(request)) {
    const { socket, device, options, server } = request;
    if (device.protocol !== "file:")
      throw new ArgumentError(`the URL of a device's module must begin with file:, got ${show(device.href)}`);
    return { socket, module: device.href, options, server };
  }
  const { device } = request;
  if (!emulatedDeviceNames.includes(device)) {
    throw new ArgumentError(
      `device must be one of ${emulatedDeviceNames.map(show).join(", ")} or the URL of a module, such as new URL("./device.js", import.meta.url), got ${show(device)}`,
    );
  }
  return request;
}

function isOwnDevice(request: EmulatorRequest): request is OwnDeviceRequest {
  return request.device instanceof URL;
}

/** An order to a running device. edu, and a device of your own that has `faults`, take `inject` and `clearFaults`. */
export type EmulatorOrder =
  | {
      /** As {@link EmulatedNvme.inject}. */
      readonly kind: "inject";
      /** A fault that the device can have. */
      readonly fault: FaultOptions | EduFault | DeviceFault<BlockSpec>;
    }
  | {
      /** A message to a device of your own: its class's method `order(message)` is called, and may return a promise. */
      readonly kind: "device";
      /** What the method gets, as `structuredClone()` copies it. */
      readonly message: unknown;
    }
  | {
      /** As {@link EmulatedNvme.clearFaults}. */
      readonly kind: "clearFaults";
    }
  | {
      /** As {@link EmulatedNvme.setAnaState}. */
      readonly kind: "setAnaState";
      /** Asymmetric namespace access group, from 1. */
      readonly group: number;
      /** The group's new state. */
      readonly state: AnaStateName;
    }
  | {
      /** As {@link EmulatedNvme.captureTelemetry}. */
      readonly kind: "captureTelemetry";
      /** Reason identifier of the log page. */
      readonly reason: string;
    };

/** An order to inject a fault. */
export type InjectOrder = Extract<
  EmulatorOrder,
  {
    /** What to do. */
    readonly kind: "inject";
  }
>;
/** A message to a device of your own. */
export type DeviceOrder = Extract<
  EmulatorOrder,
  {
    /** What to do. */
    readonly kind: "device";
  }
>;

/** An order about a fault, by the number of the order that injected it. */
interface FaultOrder {
  readonly kind: "countHits" | "removeFault";
  readonly fault: number;
}

/** An order on its way to the thread, and the answer. */
export interface NumberedOrder {
  readonly number: number;
  readonly order: EmulatorOrder | FaultOrder;
}
export interface OrderAnswer {
  readonly number: number;
  readonly failure: ErrorMessage | undefined;
  readonly result: unknown;
}

/** A fault of a device on a thread of its own. */
export interface OrderedFault extends AsyncDisposable {
  /** How often it has hit, also after its end. @throws as a rejection: ClosedError */
  hits(): Promise<number>;
  /** Ends the fault. Does nothing if it has ended. @throws as a rejection: ClosedError */
  remove(): Promise<void>;
}

/** A device on a thread of its own. */
export interface RunningEmulator extends AsyncDisposable {
  /** What `PciDevice.open()` takes. */
  readonly address: string;
  /**
   * Has the device do what {@link EmulatedNvme}, {@link EmulatedEdu} or {@link DeviceFaults} does by the method of that name.
   * @returns what counts and removes the fault
   * @throws ConfigError if it can't be done, ClosedError (with what the device has thrown as its cause)
   */
  order(order: InjectOrder): Promise<OrderedFault>;
  /** Calls the device's method `order`. @returns its result @throws ConfigError if there is none, and what it throws */
  order(order: DeviceOrder): Promise<unknown>;
  /** The other orders. */
  order(order: Exclude<EmulatorOrder, InjectOrder | DeviceOrder>): Promise<void>;
  /** Any order. */
  order(order: EmulatorOrder): Promise<unknown>;
  /** Lets its client go, stops the thread, and removes the socket. */
  close(): Promise<void>;
}

/**
 * Starts an emulated device and its vfio-user server on a thread of its own: a driver in this thread blocks while it waits
 * for registers, and the device must be able to answer.
 * @param program for tests: what runs on the thread
 * @throws ArgumentError (such as an unknown device), BusyError (another server listens there), SysError, and what a device of
 *   your own throws when its module is loaded or it is made; nothing stays open
 */
export async function startEmulator(request: EmulatorRequest, program?: URL): Promise<RunningEmulator> {
  assertRuntime();
  const workerData = threadRequest(request);
  const worker = program === undefined ? startWorker({ workerData }) : new Worker(program, { workerData });
  await new Promise<void>((resolve, reject) => {
    worker.once("message", (failure: ErrorMessage | undefined) => {
      if (failure === undefined) resolve();
      else reject(errorFromMessage(failure));
    });
    worker.once("error", reject);
    worker.once("exit", (code) => reject(new Error(`the emulator's thread ended (${code})`)));
  });
  let thrown: unknown;
  if (isOwnDevice(request)) {
    worker.removeAllListeners("error");
    worker.once("error", (error) => {
      thrown = error;
      // What a device of the user's own throws ends the process, as an exception anywhere else does.
      throw error;
    });
  }
  const closed = (): ClosedError =>
    new ClosedError("the emulator", thrown === undefined ? {} : { cause: thrown });
  let closing: Promise<void> | undefined;
  let hasEnded = false;
  let count = 0;
  const waiting = new Map<number, (failure: Error | undefined, result?: unknown) => void>();
  const settle = (number: number, failure: Error | undefined, result?: unknown): void => {
    waiting.get(number)?.(failure, result);
    waiting.delete(number);
    if (waiting.size === 0 && closing === undefined) worker.unref();
  };
  worker.on("message", ({ number, failure, result }: OrderAnswer) =>
    settle(number, failure === undefined ? undefined : errorFromMessage(failure), result),
  );
  // A forgotten emulator must not keep the process alive. A listener for messages does, so this comes after it.
  worker.unref();
  worker.once("exit", () => {
    hasEnded = true;
    for (const each of waiting.values()) each(closed());
    waiting.clear();
  });
  const send = (wanted: NumberedOrder["order"]): Promise<unknown> => {
    if (closing !== undefined || hasEnded) return Promise.reject(closed());
    return new Promise((resolve, reject) => {
      const number = ++count;
      waiting.set(number, (failure, result) => {
        if (failure === undefined) resolve(result);
        else reject(failure);
      });
      // Until the answer the process has something to wait for.
      worker.ref();
      try {
        worker.postMessage({ number, order: wanted } satisfies NumberedOrder);
      } catch (cause) {
        settle(
          number,
          new ArgumentError(`the order can't be copied to the emulator's thread: ${cause}`, { cause }),
        );
      }
    });
  };
  function order(wanted: InjectOrder): Promise<OrderedFault>;
  function order(wanted: Exclude<EmulatorOrder, InjectOrder | DeviceOrder>): Promise<void>;
  function order(wanted: EmulatorOrder): Promise<unknown>;
  async function order(wanted: EmulatorOrder): Promise<unknown> {
    checkObject("order", wanted);
    const fault = count + 1;
    const result = await send(wanted);
    if (wanted.kind !== "inject") return result;
    const remove = async (): Promise<void> => void (await send({ kind: "removeFault", fault }));
    return {
      hits: async () => Number(await send({ kind: "countHits", fault })),
      remove,
      [Symbol.asyncDispose]: remove,
    } satisfies OrderedFault;
  }
  const close = (): Promise<void> => {
    closing ??= hasEnded
      ? Promise.resolve()
      : new Promise((resolve) => {
          worker.ref();
          worker.once("exit", () => resolve());
          worker.postMessage("close");
        });
    return closing;
  };
  return { address: `vfio-user:${request.socket}`, order, close, [Symbol.asyncDispose]: close };
}
