/** Errors of standard output, such as a closed pipe. */
import { IovaError } from "../core/errors.js";
import { printError } from "./terminal.js";

/** Writing to standard output failed. {@link watchStandardOutput} has reported it already. */
export class OutputError extends IovaError {
  constructor(cause: Error) {
    super("ERR_IOVA_OUTPUT", `standard output: ${cause.message}`, { cause });
  }
}

/**
 * Reports errors of standard output. Without this, a reader that ends early (`iova ... | head`) would end the process with
 * an exception. A closed pipe is no error: the reader has what it needs.
 */
export function watchStandardOutput(): void {
  let isReported = false;
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE" || isReported) return;
    isReported = true;
    printError(`standard output: ${error.message}`);
    process.exitCode = 1;
  });
}
