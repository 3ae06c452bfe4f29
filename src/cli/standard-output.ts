/** Errors of standard output, such as a closed pipe. */
import { IovaError } from "../core/errors.js";
import { printError } from "./terminal.js";

/** Standard output takes no more. {@link watchStandardOutput} has said so already, if there is anything to say. */
export class OutputError extends IovaError {
  constructor(cause: Error) {
    super("ERR_IOVA_OUTPUT", `standard output: ${cause.message}`, { cause });
  }
}

/**
 * Without this, a reader that goes early (`iova ... | head`) ends the process by an exception in the middle of its work.
 * That a reader has gone is its own affair; all else is an error.
 */
export function watchStandardOutput(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE" || process.exitCode === 1) return;
    printError(`standard output: ${error.message}`);
    process.exitCode = 1;
  });
}
