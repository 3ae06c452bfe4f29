/** Commands of which only the controller's answer says whether it has them. */
import { UnsupportedError } from "../../core/errors.js";
import { NvmeStatus } from "../spec/status.js";
import { NvmeError } from "./error.js";

/**
 * Waits for a command.
 * @param lack what to say if the controller refuses its opcode
 * @throws UnsupportedError then; everything that `run` throws
 */
export async function whereSupported<T>(lack: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof NvmeError && statusOf(error) === NvmeStatus.invalidOpcode)
      throw new UnsupportedError(lack, { cause: error });
    throw error;
  }
}

/** SCT << 8 | SC, as the values of NvmeStatus are. */
function statusOf({ statusCodeType, statusCode }: NvmeError): number {
  return (statusCodeType << 8) | statusCode;
}
