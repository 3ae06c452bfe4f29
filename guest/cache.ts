/** The folder for kernels, programs and logs, and the lock under which one process fills an entry. */
import { spawn } from "node:child_process";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { GuestToolError } from "./errors.js";

/** Where kernels and packages are kept: $IOVA_CACHE, or the user's cache folder. */
export function cacheDirectory(env: NodeJS.ProcessEnv = process.env): string {
  if (env["IOVA_CACHE"]) return resolve(env["IOVA_CACHE"]);
  return join(env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "iova");
}

/**
 * Fills a folder that appears only when it is complete: an interrupted build leaves
 * nothing behind that looks like a finished one.
 */
export async function installFolder(target: string, fill: (staging: string) => Promise<void>): Promise<void> {
  const staging = `${target}.${process.pid}.part`;
  await rm(staging, { recursive: true, force: true });
  await mkdir(staging, { recursive: true });
  try {
    await fill(staging);
    await rm(target, { recursive: true, force: true });
    await rename(staging, target);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** Replaces a small file atomically. */
export async function installFile(target: string, content: string): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  const staging = `${target}.${process.pid}.part`;
  await writeFile(staging, content);
  await rename(staging, target);
}

/**
 * Runs `work` while no other process holds the lock of this file.
 *
 * The lock is the kernel's (flock), held by a small helper process that ends
 * when its stdin does. It is released however its owner ends, so there are no
 * stale locks.
 */
export async function withLock<T>(
  file: string,
  { onWait, signal }: { onWait: () => void; signal?: AbortSignal | undefined },
  work: () => Promise<T>,
): Promise<T> {
  await mkdir(dirname(file), { recursive: true });
  let release = await tryLock(file, ["--nonblock"], signal);
  if (release === undefined) {
    onWait();
    release = await tryLock(file, [], signal);
  }
  if (release === undefined)
    throw new GuestToolError(`cannot lock ${file}: flock ended; check that the folder is writable`);
  try {
    return await work();
  } finally {
    release();
  }
}

async function tryLock(
  file: string,
  how: readonly string[],
  signal: AbortSignal | undefined,
): Promise<(() => void) | undefined> {
  const holder = spawn("flock", [...how, "--no-fork", file, "sh", "-c", "echo held; read end"], {
    stdio: ["pipe", "pipe", "ignore"],
    // Ctrl-C goes to the whole foreground group; the lock has to outlive the clean-up.
    detached: true,
  });
  const stopWaiting = (): void => void holder.kill();
  signal?.addEventListener("abort", stopWaiting);
  try {
    const release = await new Promise<(() => void) | undefined>((resolve, reject) => {
      holder.once("error", (error) =>
        reject(new GuestToolError(`cannot run flock: ${error.message}; install util-linux`)),
      );
      holder.once("exit", () => resolve(undefined));
      holder.stdout.once("data", () => resolve(() => void holder.stdin.end()));
    });
    signal?.throwIfAborted();
    return release;
  } finally {
    // The lock is now held until the work and its clean-up are done.
    signal?.removeEventListener("abort", stopWaiting);
  }
}
