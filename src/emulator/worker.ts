import { Worker } from "node:worker_threads";
import { IovaError } from "../sys/errors.js";
import type { EduOptions } from "./edu/device.js";
import type { NvmeEmulatorOptions } from "./nvme/options.js";

/** What to emulate, and where. */
export type EmulatorRequest =
  | { readonly socket: string; readonly device: "edu"; readonly options: EduOptions }
  | { readonly socket: string; readonly device: "nvme"; readonly options: NvmeEmulatorOptions };

/** Why it didn't start, across threads. */
export interface EmulatorFailure {
  readonly code: string;
  readonly message: string;
}

/** A device on a thread of its own. */
export interface RunningEmulator extends AsyncDisposable {
  /** What {@link PciDevice.open} takes. */
  readonly address: string;
  /** Lets its client go, stops the thread, and removes the socket. */
  close(): Promise<void>;
}

/**
 * Starts an emulated device and its vfio-user server on a thread of its own: a driver in this thread blocks while it waits
 * for registers, and the device must be able to answer.
 * @param program for tests: what runs on the thread
 * @throws whatever kept it from starting: ConfigError, BusyError (somebody listens there), SysError
 */
export async function startEmulator(
  request: EmulatorRequest,
  program: URL = new URL("./worker-main.js", import.meta.url),
): Promise<RunningEmulator> {
  const worker = new Worker(program, { workerData: request });
  await new Promise<void>((resolve, reject) => {
    worker.once("message", (failure: EmulatorFailure | undefined) => {
      if (failure === undefined) resolve();
      else reject(new IovaError(failure.code, failure.message));
    });
    worker.once("error", reject);
    worker.once("exit", (code) => reject(new Error(`the emulator's thread ended (${code})`)));
  });
  // Whoever forgets it should not wait for it.
  worker.unref();
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= new Promise((resolve) => {
      worker.ref();
      worker.once("exit", () => resolve());
      worker.postMessage("close");
    });
    return closing;
  };
  return { address: `vfio-user:${request.socket}`, close, [Symbol.asyncDispose]: close };
}
