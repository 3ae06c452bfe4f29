/** Errors of the NVMe driver: an error status, a broken protocol, a reset. */
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
  /** What that means, in a sentence; empty where the status is the vendor's or unknown. */
  readonly meaning: string;
  /** The same command would fail again (DNR). */
  readonly doNotRetry: boolean;
  /** The Error Information log says more (M). */
  readonly more: boolean;
  /** Which of the controller's retry delays applies (CRD): 1 to 3 for CRDT1 to CRDT3 of Identify; 0 for none. */
  readonly retryDelay: number;

  /**
   * @param command what was asked, for the message
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
    this.statusCodeType = type;
    this.statusCode = code;
    this.status = name;
    this.meaning = statusMeaning(type, code) ?? "";
    this.more = (statusField & STATUS_MORE) !== 0;
    this.doNotRetry = (statusField & STATUS_DO_NOT_RETRY) !== 0;
    this.retryDelay = (statusField >>> STATUS_RETRY_DELAY_SHIFT) & 3;
  }
}

/** The controller did what the specification forbids, or declared itself broken; it has been stopped. */
export class NvmeProtocolError extends IovaError {
  constructor(message: string) {
    super("ERR_IOVA_NVME_PROTOCOL", message);
  }
}

/** The command was outstanding when its controller was reset, and was not sent again. It may or may not have been carried out. */
export class NvmeResetError extends IovaError {
  constructor(controller: string) {
    super("ERR_IOVA_NVME_RESET", `${controller} was reset while the command was outstanding`);
  }
}

/**
 * @param identify the controller's CRDT fields, in units of 100 ms
 * @returns milliseconds to wait before the command is sent again; 0 where the controller asks for no delay
 */
export function retryDelayMs(
  error: NvmeError,
  identify: { readonly crdt1: number; readonly crdt2: number; readonly crdt3: number },
): number {
  const delays = [0, identify.crdt1, identify.crdt2, identify.crdt3];
  return (delays[error.retryDelay] ?? 0) * 100;
}
