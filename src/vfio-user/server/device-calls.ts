/** Tells what a served device throws from what the server refuses. */
import { IovaError } from "../../core/errors.js";

const ofDevices = new WeakSet<IovaError>();

/**
 * Calls a device. A client isn't answered with what that throws, also if it is an error of this library: the device has a
 * mistake, and its author needs the error with its stack.
 */
export function callDevice<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (error instanceof IovaError) ofDevices.add(error);
    throw error;
  }
}

/** Whether a device has thrown this. */
export function isOfDevice(error: unknown): boolean {
  return error instanceof IovaError && ofDevices.has(error);
}
