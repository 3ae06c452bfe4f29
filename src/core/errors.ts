/** The error classes that every layer uses, and the base of all others. */
import { errnoName } from "./errno.js";
import { hintOf } from "./hints.js";

/**
 * Base of every error that this library throws on purpose. Programs should test `code` or the class, never the message.
 * docs/errors.md lists the codes and says which calls can be tried again.
 */
export class IovaError extends Error {
  /** Stable identifier: an errno name for {@link SysError}, an `IovaErrorCode` for all others. */
  readonly code: string;

  /**
   * @param code becomes {@link code}
   * @param message what failed, with which value, and what to do
   */
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.name = new.target.name;
  }
}

/** What was thrown, as an error: JavaScript can throw anything. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/** What a failed system call was doing. The message contains every part that is given. */
export interface SysErrorContext {
  /** Path or kernel object the call was made on, e.g. `/dev/iommu` or `ioas 3`. */
  readonly object?: string | undefined;
  /** What the caller can do about it. By default the hint of docs/errors.md for this request and errno. */
  readonly hint?: string | undefined;
  /** The error behind this one. */
  readonly cause?: unknown;
}

/** The kernel refused a system call or an ioctl. */
export class SysError extends IovaError {
  /** Name of the system call (`openat`) or of the ioctl (`IOMMU_IOAS_MAP`), as the kernel headers spell it. */
  readonly syscall: string;
  /** Positive errno number. `code` is its name. */
  readonly errno: number;
  /** Path or kernel object of the call, where known. */
  readonly object: string | undefined;
  /** What the errno means for this call and what to do, where known. */
  readonly hint: string | undefined;

  /**
   * @param syscall becomes {@link syscall}
   * @param errno positive errno number
   */
  constructor(syscall: string, errno: number, context: SysErrorContext = {}) {
    const name = errnoName(errno);
    const on = context.object === undefined ? "" : ` on ${context.object}`;
    const hint = context.hint ?? hintOf(syscall, name);
    super(
      name,
      `${syscall}${on}: ${name}${hint === undefined ? "" : ` (${hint})`}`,
      context.cause === undefined ? undefined : { cause: context.cause },
    );
    this.syscall = syscall;
    this.errno = errno;
    this.object = context.object;
    this.hint = hint;
  }

  /**
   * The same failure with an object or a hint that only an outer layer knows. It has the stack of this error: the place of
   * the failed call.
   */
  with(context: SysErrorContext): SysError {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    try {
      const error = new SysError(this.syscall, this.errno, {
        object: context.object ?? this.object,
        hint: context.hint ?? this.hint,
        cause: context.cause ?? this.cause,
      });
      error.stack = `${error.name}: ${error.message}${framesOf(this.stack)}`;
      return error;
    } finally {
      Error.stackTraceLimit = stackTraceLimit;
    }
  }
}

/** The part of a stack after the message. */
function framesOf(stack: string | undefined): string {
  const start = stack?.indexOf("\n    at ") ?? -1;
  return start < 0 ? "" : (stack ?? "").slice(start);
}

/** An argument is invalid. Nothing was sent to the kernel or the device. */
export class ArgumentError extends IovaError {
  constructor(message: string, options?: ErrorOptions) {
    super("ERR_IOVA_ARGUMENT", message, options);
  }
}

/** An options object, a command line or a file is invalid. An {@link ArgumentError} with a code of its own. */
export class ConfigError extends ArgumentError {
  override readonly code: string = "ERR_IOVA_CONFIG";
}

/** The object was closed before this call. */
export class ClosedError extends IovaError {
  /** @param what names the object */
  constructor(what: string, options?: ErrorOptions) {
    super("ERR_IOVA_CLOSED", `${what} is closed`, options);
  }
}

/** The object is open but not in the state that this call needs, such as bound or attached. */
export class StateError extends IovaError {
  constructor(message: string, options?: ErrorOptions) {
    super("ERR_IOVA_STATE", message, options);
  }
}

/** Something still uses the object. The message names the user. */
export class BusyError extends IovaError {
  constructor(message: string, options?: ErrorOptions) {
    super("ERR_IOVA_BUSY", message, options);
  }
}

/** A wait reached its time limit. */
export class TimeoutError extends IovaError {
  /** The limit in milliseconds. */
  readonly timeoutMs: number;

  /**
   * @param what names the operation
   * @param timeoutMs the limit in milliseconds
   * @param options hint: what happens now and what the caller can do
   */
  constructor(
    what: string,
    timeoutMs: number,
    options: ErrorOptions & { readonly hint?: string | undefined } = {},
  ) {
    const { hint, ...rest } = options;
    const note = hint === undefined ? "" : ` (${hint})`;
    super("ERR_IOVA_TIMEOUT", `${what}: no answer within ${timeoutMs} ms${note}`, rest);
    this.timeoutMs = timeoutMs;
  }
}

/** The device no longer answers: its registers read all ones, it was unplugged, or its server closed the connection. */
export class DeviceGoneError extends IovaError {
  /**
   * @param what names the device
   * @param how what has happened to it, as the rest of the sentence
   */
  constructor(
    what: string,
    how = "no longer answers (removed, powered down or in reset)",
    options?: ErrorOptions,
  ) {
    super("ERR_IOVA_DEVICE_GONE", `${what} ${how}`, options);
  }
}

/** The kernel requests the device back, because it is unbound or removed. It still answers: stop it, then close it. */
export class DeviceRequestedError extends IovaError {
  /** @param what names the device */
  constructor(what: string, options?: ErrorOptions) {
    super("ERR_IOVA_DEVICE_REQUESTED", `the kernel requests ${what} back: stop and close it`, options);
  }
}

/** This kernel, device or backend lacks the feature. */
export class UnsupportedError extends IovaError {
  constructor(message: string, options?: ErrorOptions) {
    super("ERR_IOVA_UNSUPPORTED", message, options);
  }
}
