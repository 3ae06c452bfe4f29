import { errnoName } from "./errno.js";
import { hintOf } from "./hints.js";

/** Base of every error this library throws on purpose. `code` is stable and meant for programs. */
export class IovaError extends Error {
  /** Stable identifier: an errno name for {@link SysError}, `ERR_IOVA_*` for all others. */
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.name = new.target.name;
  }
}

/** What a failed system call was doing; every part that is known ends up in the message. */
export interface SysErrorContext {
  /** Path or kernel object the call was made on, e.g. `/dev/iommu` or `ioas 3`. */
  readonly object?: string | undefined;
  /** What the caller can do about it; left out, what is known of this request and errno. */
  readonly hint?: string | undefined;
}

/** A system call or ioctl that the kernel refused. */
export class SysError extends IovaError {
  /** Syscall (`openat`) or ioctl (`IOMMU_IOAS_MAP`) as the kernel headers spell it. */
  readonly syscall: string;
  /** Positive errno number. */
  readonly errno: number;
  readonly object: string | undefined;
  readonly hint: string | undefined;

  constructor(syscall: string, errno: number, context: SysErrorContext = {}) {
    const name = errnoName(errno);
    const on = context.object === undefined ? "" : ` on ${context.object}`;
    const hint = context.hint ?? hintOf(syscall, name);
    super(name, `${syscall}${on}: ${name}${hint === undefined ? "" : ` (${hint})`}`);
    this.syscall = syscall;
    this.errno = errno;
    this.object = context.object;
    this.hint = hint;
  }

  /** The same failure with the object or hint that only an outer layer knows. */
  with(context: SysErrorContext): SysError {
    return new SysError(this.syscall, this.errno, {
      object: context.object ?? this.object,
      hint: context.hint ?? this.hint,
    });
  }
}

/** An argument that can't be right, refused before the kernel or a device sees it. */
export class ArgumentError extends IovaError {
  constructor(message: string, options?: ErrorOptions) {
    super("ERR_IOVA_ARGUMENT", message, options);
  }
}

/** Options, command lines or files that don't have the form they need. */
export class ConfigError extends IovaError {
  constructor(message: string, options?: ErrorOptions) {
    super("ERR_IOVA_CONFIG", message, options);
  }
}

/** The object was closed before this use of it. */
export class ClosedError extends IovaError {
  constructor(what: string) {
    super("ERR_IOVA_CLOSED", `${what} is closed`);
  }
}

/** The object is open but not in the state this call needs (not bound, not attached, ...). */
export class StateError extends IovaError {
  constructor(message: string) {
    super("ERR_IOVA_STATE", message);
  }
}

/** Something still uses the object; the message names who. */
export class BusyError extends IovaError {
  constructor(message: string) {
    super("ERR_IOVA_BUSY", message);
  }
}

/** A wait reached its time limit. */
export class TimeoutError extends IovaError {
  readonly timeoutMs: number;

  constructor(what: string, timeoutMs: number) {
    super("ERR_IOVA_TIMEOUT", `${what}: no answer within ${timeoutMs} ms`);
    this.timeoutMs = timeoutMs;
  }
}

/** The device no longer answers: its registers read all ones, or it was unplugged. */
export class DeviceGoneError extends IovaError {
  constructor(what: string, how = "no longer answers (removed, powered down or in reset)") {
    super("ERR_IOVA_DEVICE_GONE", `${what} ${how}`);
  }
}

/** This kernel, device or backend lacks the feature. */
export class UnsupportedError extends IovaError {
  constructor(message: string, options?: ErrorOptions) {
    super("ERR_IOVA_UNSUPPORTED", message, options);
  }
}
