/** Errors of the NVMe driver: error status, protocol violation, reset. */
import { checkObject } from "../../core/check.js";
import { IovaError } from "../../core/errors.js";
import {
  STATUS_DO_NOT_RETRY,
  STATUS_MORE,
  STATUS_RETRY_DELAY_SHIFT,
  statusMeaning,
  statusName,
  statusTypeName,
} from "../spec/status.js";

/** A command that the controller completed with an error status. */
export class NvmeError extends IovaError {
  /** Status Code Type (SCT). */
  readonly statusCodeType: number;
  /** Status Code (SC), meaningful within its type. */
  readonly statusCode: number;
  /** Name of the status in the specification, e.g. `LBA Out of Range`. */
  readonly status: string;
  /** Meaning of the status, in a sentence; empty if it is vendor specific or unknown. */
  readonly meaning: string;
  /** Whether the same command would fail again (DNR). */
  readonly doNotRetry: boolean;
  /** Whether the Error Information log has more information (M). */
  readonly more: boolean;
  /** Index of the retry delay (CRD): 1 to 3 for CRDT1 to CRDT3 of Identify Controller; 0 for none. */
  readonly retryDelay: number;
  /** All of it: bits 15:1 of the completion's status word. */
  readonly statusField: number;

  /**
   * @param command name of the command, for the message
   * @param statusField bits 15:1 of the completion's status word
   */
  constructor(command: string, statusField: number) {
    const type = (statusField >> 8) & 7;
    const code = statusField & 0xff;
    const name = statusName(type, code);
    super(
      "ERR_IOVA_NVME",
      `${command}: ${name} (${statusTypeName(type)} 0x${code.toString(16).padStart(2, "0")})`,
    );
    this.statusField = statusField;
    this.statusCodeType = type;
    this.statusCode = code;
    this.status = name;
    this.meaning = statusMeaning(type, code) ?? "";
    this.more = (statusField & STATUS_MORE) !== 0;
    this.doNotRetry = (statusField & STATUS_DO_NOT_RETRY) !== 0;
    this.retryDelay = (statusField >>> STATUS_RETRY_DELAY_SHIFT) & 3;
  }
}

/** The controller violated the specification or reported a fatal status. The driver has stopped it. */
export class NvmeProtocolError extends IovaError {
  constructor(message: string) {
    super("ERR_IOVA_NVME_PROTOCOL", message);
  }
}

/** The controller was reset while the command was outstanding, and the driver didn't send it again. Its effect is unknown. */
export class NvmeResetError extends IovaError {
  constructor(controller: string) {
    super("ERR_IOVA_NVME_RESET", `${controller} was reset while the command was outstanding`);
  }
}

/**
 * @param identify the controller's CRDT fields, in units of 100 ms
 * @throws ArgumentError
 * @returns milliseconds to wait before the command is sent again; 0 if the controller requests no delay
 */
export function retryDelayMs(
  error: NvmeError,
  identify: { readonly crdt1: number; readonly crdt2: number; readonly crdt3: number },
): number {
  checkObject("error", error);
  checkObject("identify", identify);
  const delays = [0, identify.crdt1, identify.crdt2, identify.crdt3];
  return (delays[error.retryDelay] ?? 0) * 100;
}
