/** Runs a program to its end, with its output in a log, and turns failures into errors. */
import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import { GuestToolError } from "./errors.js";

const TAIL_LINES = 30;

export interface ExecOptions {
  cwd?: string;
  env?: Readonly<Record<string, string>>;
  /** The log of the program's output, whose end is shown when it fails. */
  log: string;
  /** Called for each line of stdout and stderr. */
  onLine?: (line: string) => void;
  /** Called for each line that the program writes to its file descriptor 3. */
  onStatus?: (line: string) => void;
  signal?: AbortSignal;
}

/** Runs a program that may take long. @throws GuestToolError with the end of its output */
export async function exec(program: string, args: readonly string[], options: ExecOptions): Promise<void> {
  await mkdir(dirname(options.log), { recursive: true });
  const log = createWriteStream(options.log, { flags: "a" });
  log.write(`$ ${[program, ...args].join(" ")}\n`);
  const tail: string[] = [];
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe", options.onStatus ? "pipe" : "ignore"],
    env: { ...process.env, LC_ALL: "C", ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  const keep = (line: string): void => {
    log.write(`${line}\n`);
    tail.push(line);
    if (tail.length > TAIL_LINES) tail.shift();
    options.onLine?.(line);
  };
  if (child.stdout) eachLine(child.stdout, keep);
  if (child.stderr) eachLine(child.stderr, keep);
  const status = child.stdio[3];
  if (status && "read" in status) eachLine(status, (line) => options.onStatus?.(line));
  const outcome = await new Promise<string | undefined>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code, signal) => resolve(code === 0 ? undefined : (signal ?? `status ${code}`)));
  });
  log.end();
  await finished(log);
  options.signal?.throwIfAborted();
  if (outcome !== undefined) {
    throw new GuestToolError(
      `${program} failed (${outcome}). The end of ${options.log}:\n${tail.map((line) => `  ${line}`).join("\n")}`,
    );
  }
}

/** Runs a short program. @returns its output */
export async function capture(program: string, args: readonly string[]): Promise<string> {
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "ignore"],
    env: { ...process.env, LC_ALL: "C" },
  });
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  await new Promise<void>((resolve) => {
    child.once("error", () => resolve());
    child.once("close", () => resolve());
  });
  return Buffer.concat(chunks).toString();
}

function eachLine(stream: Readable, use: (line: string) => void): void {
  createInterface({ input: stream }).on("line", use);
}
