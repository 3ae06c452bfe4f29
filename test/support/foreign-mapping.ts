/** Memory of another process in an address space of this one. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Ioas } from "../../src/doors/iommufd.js";
import { guestProgram } from "./guest-programs.js";

/** Only ends a program that hangs: no test depends on how long a program takes. */
const HANG_MS = 540_000;

/** A process that maps a memfd. Its memory is mapped in an address space of this process, by its address there. */
export class ForeignMapping implements Disposable {
  private readonly child: ChildProcess;
  private readonly ended: Promise<unknown>;

  private constructor(ioas: Ioas, memfd: number, at: bigint, sizeBytes: number) {
    const program = guestProgram("ioas-mapper");
    this.child = spawn(process.execPath, [program, String(ioas.id), String(at), String(sizeBytes)], {
      stdio: ["pipe", "pipe", "inherit", ioas.iommufd.fd, memfd],
      timeout: HANG_MS,
      killSignal: "SIGKILL",
    });
    this.ended = once(this.child, "close");
  }

  /** Resolves when it is mapped. @throws Error if that fails */
  static async create(ioas: Ioas, memfd: number, at: bigint, sizeBytes: number): Promise<ForeignMapping> {
    const mapping = new ForeignMapping(ioas, memfd, at, sizeBytes);
    let said = "";
    mapping.child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    // It prints one line, or ends without one.
    await Promise.race([once(mapping.child.stdout ?? mapping.child, "data"), mapping.ended]);
    if (said !== "ok\n") {
      await mapping.end();
      throw new Error(`the other process could not map: ${said}`);
    }
    return mapping;
  }

  /** Ends the process; the mapping stays. */
  async end(): Promise<void> {
    this.child.stdin?.end();
    await this.ended;
  }

  /** Ends the process, if a test failed before it did. */
  [Symbol.dispose](): void {
    this.child.stdin?.end();
  }
}
