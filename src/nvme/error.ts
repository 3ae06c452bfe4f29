import { IovaError } from "../sys/errors.js";
import { statusName, statusTypeName } from "./spec/status.js";

/** A command that the controller completed with an error status. */
export class NvmeError extends IovaError {
  /** Status Code Type (SCT). */
  readonly statusCodeType: number;
  /** Status Code (SC), meaningful within its type. */
  readonly statusCode: number;
  /** Name of the status in the specification, e.g. `LBA Out of Range`. */
  readonly status: string;
  /** The same command would fail again (DNR). */
  readonly doNotRetry: boolean;
  /** The Error Information log says more (M). */
  readonly more: boolean;

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
    this.more = (statusField & (1 << 13)) !== 0;
    this.doNotRetry = (statusField & (1 << 14)) !== 0;
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
