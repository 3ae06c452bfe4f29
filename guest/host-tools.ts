/** Programs that the host needs: looks for them, and installs missing ones with apt. */
import { closeSync, existsSync, openSync, readFileSync, readSync } from "node:fs";
import { GuestToolError } from "./errors.js";
import { exec } from "./exec.js";
import { findProgram } from "./paths.js";
import type { Progress } from "./progress.js";

/** A program that the host needs, the check for it, and its Debian package. */
export interface Tool {
  package: string;
  /** Looks at files only: a run from a full cache must not wait for a package manager. */
  present: () => boolean;
}

const program = (name: string, from = name): Tool => ({
  package: from,
  present: () => findProgram(name) !== undefined,
});
const file = (path: string, from: string): Tool => ({ package: from, present: () => existsSync(path) });

/** What every guest needs to boot. */
export const BUSYBOX: Tool = { package: "busybox-static", present: () => findStaticBusybox() !== undefined };

/** Not needed when the caller brings a QEMU. */
export const QEMU: Tool = program("qemu-system-x86_64", "qemu-system-x86");

/** What downloads a kernel's source from Debian. */
export const FETCH_TOOLS: readonly Tool[] = [
  program("apt-get", "apt"),
  program("dpkg-deb", "dpkg"),
  file("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
];

/** What lists and loads a kernel's modules. */
export const KMOD: Tool = {
  package: "kmod",
  present: () => findProgram("modprobe", "/usr/sbin:/sbin") !== undefined,
};

/** What builds it. */
export const BUILD_TOOLS: readonly Tool[] = [
  program("make"),
  program("gcc"),
  program("flex"),
  program("bison"),
  program("bc"),
  program("rsync"),
  program("tar"),
  program("xz", "xz-utils"),
  file("/usr/include/libelf.h", "libelf-dev"),
  file("/usr/include/openssl/opensslv.h", "libssl-dev"),
];

/** Programs that the unit suite tries its output on. */
export const TEST_TOOLS: readonly Tool[] = [
  program("zsh"),
  program("fish"),
  program("groff", "groff-base"),
  program("python3", "python3-minimal"),
  program("script", "bsdutils"),
];

/** Installs what is missing, or says what to install. @throws GuestToolError */
export async function requireTools(
  tools: readonly Tool[],
  context: { log: string; progress: Progress; signal?: AbortSignal },
): Promise<void> {
  const packages = missingPackages(tools);
  if (packages.length === 0) return;
  const command = `apt-get install -y --no-install-recommends ${packages.join(" ")}`;
  const isDebianRoot = process.getuid?.() === 0 && findProgram("apt-get") !== undefined;
  if (!isDebianRoot) {
    throw new GuestToolError(`this host lacks programs that guests or tests need; run as root: ${command}`);
  }
  const options = {
    log: context.log,
    env: { DEBIAN_FRONTEND: "noninteractive" },
    ...(context.signal ? { signal: context.signal } : {}),
  };
  context.progress.update(`installing ${packages.join(" ")}`);
  // Another run, or the system's own updates, may be at it.
  const install = ["install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=600", ...packages];
  try {
    await exec("apt-get", install, options);
  } catch (error) {
    if (!(error instanceof GuestToolError)) throw error;
    // A fresh container has no package lists, and an old one has stale ones.
    context.progress.update(`installing ${packages.join(" ")}: reading the package lists first`);
    await exec("apt-get", ["update"], options);
    await exec("apt-get", install, options);
  }
  const still = missingPackages(tools);
  if (still.length > 0) {
    throw new GuestToolError(
      `${still.join(" ")} is installed, but the program that is needed from it is still missing; reinstall it`,
    );
  }
  context.progress.note(`installed ${packages.join(" ")}`);
}

export function missingPackages(tools: readonly Tool[]): string[] {
  return tools.filter((tool) => !tool.present()).map((tool) => tool.package);
}

/** A busybox that runs without the host's C library: in the initramfs there is none. */
export function findStaticBusybox(): string | undefined {
  const path = findProgram("busybox", `${process.env["PATH"] ?? ""}:/bin:/usr/bin:/sbin`);
  return path !== undefined && isStatic(path) ? path : undefined;
}

/** Static means: no ELF program header names an interpreter (the dynamic loader). */
function isStatic(path: string): boolean {
  const PT_INTERP = 3;
  const head = Buffer.alloc(4096);
  const fd = openSync(path, "r");
  try {
    readSync(fd, head, 0, head.length, 0);
  } finally {
    closeSync(fd);
  }
  if (head.readUInt32BE(0) !== 0x7f454c46 || head[4] !== 2) return false; // not a 64-bit ELF file
  const table = Number(head.readBigUInt64LE(32));
  const entrySize = head.readUInt16LE(54);
  for (let index = 0; index < head.readUInt16LE(56); index++) {
    const at = table + index * entrySize;
    if (at + 4 > head.length) return false;
    if (head.readUInt32LE(at) === PT_INTERP) return false;
  }
  return true;
}

/**
 * Whether QEMU can run the guest on the processor itself. /dev/kvm alone proves
 * nothing: on some paravirtual hosts it is there and cannot run an ordinary kernel.
 */
export function isKvmUsable(): boolean {
  if (!/^flags\s*:.*\b(vmx|svm)\b/m.test(readFileSync("/proc/cpuinfo", "utf8"))) return false;
  try {
    closeSync(openSync("/dev/kvm", "r+"));
    return true;
  } catch {
    return false;
  }
}
