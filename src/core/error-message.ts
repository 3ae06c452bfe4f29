/** Errors as messages between threads. Structured cloning keeps only the built-in classes; these keep the library's, too. */
import {
  ArgumentError,
  asError,
  BusyError,
  ClosedError,
  ConfigError,
  DeviceGoneError,
  IovaError,
  StateError,
  SysError,
  TimeoutError,
  UnsupportedError,
} from "./errors.js";

/** An error in a form that `postMessage` can send. */
export interface ErrorMessage {
  readonly name: string;
  readonly message: string;
  /** Where it was thrown on the other thread. */
  readonly stack: string | undefined;
  /** Whether it is an {@link IovaError}, of whatever class. */
  readonly isOurs: boolean;
  /** The error's own fields, such as `code` and `errno`. Objects among them are left out. */
  readonly fields: Readonly<Record<string, unknown>>;
  readonly cause: ErrorMessage | undefined;
}

/** A class of errors that {@link errorFromMessage} can restore. */
export type ErrorClass = abstract new (...parameters: never[]) => IovaError;

const coreClasses: readonly ErrorClass[] = [
  SysError,
  ArgumentError,
  ConfigError,
  ClosedError,
  StateError,
  BusyError,
  TimeoutError,
  DeviceGoneError,
  UnsupportedError,
];

/** Converts an error to a message. A value that isn't an error becomes one with that text. */
export function errorToMessage(thrown: unknown): ErrorMessage {
  const error = asError(thrown);
  const { name, message, stack, cause } = error;
  const fields = Object.entries(error).filter(
    ([key, value]) => key !== "name" && typeof value !== "object" && typeof value !== "function",
  );
  return {
    name,
    message,
    stack,
    isOurs: error instanceof IovaError,
    fields: Object.fromEntries(fields),
    cause: cause === undefined ? undefined : errorToMessage(cause),
  };
}

/**
 * Restores the error of a message: with its class, fields, cause and stack.
 * @param moreClasses classes beside those of errors.ts. An error of a class that isn't known becomes an {@link IovaError} that
 *   keeps its name and code
 */
export function errorFromMessage(message: ErrorMessage, moreClasses: readonly ErrorClass[] = []): Error {
  const { name, stack, fields, isOurs, cause } = message;
  const error = new Error(
    message.message,
    cause === undefined ? undefined : { cause: errorFromMessage(cause, moreClasses) },
  );
  if (isOurs) {
    const known = [...coreClasses, ...moreClasses].find((each) => each.name === name);
    // Only the constructor knows how its arguments make a message; the message exists already.
    Object.setPrototypeOf(error, (known ?? IovaError).prototype);
  }
  // Node's own errors (RangeError, TypeError) may have name on their prototype: as an own field it reads the same.
  Object.defineProperty(error, "name", {
    value: name,
    writable: true,
    configurable: true,
    enumerable: isOurs,
  });
  Object.assign(error, fields);
  if (stack !== undefined) error.stack = stack;
  return error;
}
