/** Starts the emulators on the host that a test machine uses, and stops them. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { packageRoot } from "../guest/paths.js";
import type { EmulatorProcess } from "./machines.js";

/** Ends only what never starts. */
const START_LIMIT_MS = 540_000;

/** `iova emulate` beside a guest: one process for each controller, listening in the guest's folder. */
export class EmulatorProcesses {
  private readonly children = new Map<string, ChildProcess>();
  private readonly output = new Map<string, string>();

  private constructor(private readonly record: NodeJS.ProcessEnv | undefined) {}

  /** @param record environment of support/record-session.ts, which then writes down what clients send */
  static async start(
    folder: string,
    wanted: readonly EmulatorProcess[],
    record?: NodeJS.ProcessEnv,
  ): Promise<EmulatorProcesses> {
    const all = new EmulatorProcesses(record);
    try {
      await Promise.all(wanted.map((one) => all.start(folder, one)));
    } catch (error) {
      await all.stop();
      throw error;
    }
    return all;
  }

  /** Ends them all. @returns what went wrong with any of them */
  async stop(): Promise<string[]> {
    const problems = [...this.children].map(async ([name, child]) => {
      if (child.exitCode === null && child.signalCode === null) {
        const ended = once(child, "exit");
        child.kill("SIGTERM");
        await ended;
      }
      if (child.exitCode === 0) return [];
      const how = child.signalCode ?? `status ${child.exitCode}`;
      return [`the emulated controller "${name}" ended with ${how}: ${this.output.get(name) ?? ""}`];
    });
    return (await Promise.all(problems)).flat();
  }

  private async start(folder: string, { name, args }: EmulatorProcess): Promise<void> {
    const program = join(packageRoot(), "dist", "src", "cli", "main.js");
    const options = ["emulate", "nvme", "--socket", join(folder, name), "--serial", name];
    const recorder = join(packageRoot(), "dist", "test", "support", "record-session.js");
    const loaded = this.record === undefined ? [] : ["--import", pathToFileURL(recorder).href];
    // Files that are named in `args` belong into the folder as well.
    const child = spawn(process.execPath, [...loaded, program, ...options, ...args], {
      cwd: folder,
      env: { ...process.env, ...this.record },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.children.set(name, child);
    let said = "";
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`"${name}" did not start: ${said}`)), START_LIMIT_MS);
      const listen = (chunk: Buffer): void => {
        said += chunk.toString();
        this.output.set(name, said);
        if (said.includes("Ctrl-C")) resolve();
      };
      child.stdout.on("data", listen);
      child.stderr.on("data", listen);
      child.once("error", reject);
      child.once("exit", () => reject(new Error(`"${name}" did not start: ${said}`)));
      void once(child, "exit").then(() => clearTimeout(timer));
      child.stdout.once("data", () => clearTimeout(timer));
    });
  }
}
