/** The library needs Linux. Elsewhere it can be imported, so that a program can ask first, and each use says what is missing. */
import { UnsupportedError } from "./errors.js";

/** What a use of the library on another system throws. */
export function notLinux(): UnsupportedError {
  return new UnsupportedError(
    `iova needs Linux, whose kernel has VFIO and iommufd; this is ${process.platform}: run the program on Linux, or in a virtual ` +
      "machine that has it",
  );
}

/** @throws UnsupportedError on another system than Linux */
export function assertLinux(): void {
  if (process.platform !== "linux") throw notLinux();
}
