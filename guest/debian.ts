/** Debian's package lists: finds packages, downloads them, and checks their hashes. */
import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { GuestToolError } from "./errors.js";
import { capture, exec } from "./exec.js";
import type { Progress } from "./progress.js";

/**
 * Where packages are looked for; the newest version over all of them wins.
 * Debian's kernels enter through unstable (sid) and reach backports a little
 * later, but at times backports is ahead, so both are read. Stable and the old
 * backports have the long-term kernel, and serve if the others can't be
 * reached. Bookworm has the kernel of Debian 12 as a package. Experimental has release candidates, so it is left out.
 */
export const SUITES = ["sid", "trixie-backports", "trixie", "bookworm-backports", "bookworm"] as const;

const FALLBACK_MIRROR = "http://deb.debian.org/debian/";
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

export interface PackageVersion {
  package: string;
  version: string;
}

/**
 * An apt of our own below the cache folder: it reads the suites above with
 * Debian's keys, knows nothing of the packages that are installed, and leaves
 * the system's sources and lists as they are. Downloads are
 * unpacked beside the system, never installed.
 */
export class PrivateApt {
  readonly #root: string;
  readonly #log: string;
  readonly #progress: Progress;
  readonly #signal: AbortSignal | undefined;

  constructor(root: string, context: { log: string; progress: Progress; signal?: AbortSignal }) {
    this.#root = root;
    this.#log = context.log;
    this.#progress = context.progress;
    this.#signal = context.signal;
  }

  /** Reads the package lists again. Succeeds if at least one suite can be reached. */
  async update(): Promise<void> {
    for (const folder of ["lists/partial", "cache/archives/partial", "archives"]) {
      await mkdir(join(this.#root, folder), { recursive: true });
    }
    await writeFile(join(this.#root, "status"), "");
    const mirror = await findMirror();
    const sources = SUITES.map((suite) => `deb [signed-by=${KEYRING}] ${mirror} ${suite} main\n`);
    await writeFile(join(this.#root, "sources.list"), sources.join(""));
    const step = "reading Debian's package lists";
    this.#progress.update(step);
    try {
      await this.#aptGet(["update"], step);
    } catch (error) {
      if (!(error instanceof GuestToolError)) throw error;
      if ((await this.versions(/^linux-source/)).length === 0) throw error;
      this.#progress.note(
        `some of Debian's package lists could not be read (${this.#log}); going on with the others`,
      );
    }
  }

  /** All versions of the packages whose names match, newest first. */
  async versions(names: RegExp): Promise<PackageVersion[]> {
    const options = this.#options();
    const known = (await capture("apt-cache", [...options, "pkgnames"])).split("\n");
    const wanted = known.filter((name) => names.test(name));
    if (wanted.length === 0) return [];
    const table = await capture("apt-cache", [...options, "madison", ...wanted]);
    return parseMadison(table).sort((a, b) => compareDebianVersions(b.version, a.version));
  }

  /** The package's file, from the cache or downloaded. apt checks its hash against the signed lists. */
  async download(wanted: PackageVersion): Promise<string> {
    const archives = join(this.#root, "archives");
    await mkdir(archives, { recursive: true });
    const present = await this.findDownloaded(wanted);
    if (present !== undefined) return present;
    const staging = join(archives, `${process.pid}.part`);
    await rm(staging, { recursive: true, force: true });
    await mkdir(staging);
    try {
      await this.#aptGet(
        ["download", `${wanted.package}=${wanted.version}`],
        `fetching ${wanted.package} ${wanted.version}`,
        staging,
      );
      const [name] = await readdir(staging);
      if (name === undefined)
        throw new GuestToolError(`apt-get fetched no file for ${wanted.package}; try again`);
      // A newer version replaces an older one: a kernel's source is 160 MB.
      for (const old of await readdir(archives)) {
        if (old.startsWith(`${wanted.package}_`)) await rm(join(archives, old));
      }
      const target = join(archives, name);
      await rename(join(staging, name), target);
      return target;
    } finally {
      await rm(staging, { recursive: true, force: true });
    }
  }

  /**
   * The package's file and those of everything it depends on, down to the C library, in a folder, for a
   * system that has none of them. Fetched every time.
   */
  async downloadWithDependencies(wanted: PackageVersion, target: string): Promise<string[]> {
    await mkdir(join(target, "partial"), { recursive: true });
    const { package: name, version } = wanted;
    const options = [
      "--download-only",
      "--no-install-recommends",
      "-y",
      "-o",
      `Dir::Cache::archives=${target}`,
    ];
    await this.#aptGet(["install", ...options, `${name}=${version}`], `fetching ${name} ${version}`);
    return (await readdir(target))
      .filter((entry) => entry.endsWith(".deb"))
      .map((entry) => join(target, entry));
  }

  async findDownloaded(wanted: PackageVersion): Promise<string | undefined> {
    const archives = join(this.#root, "archives");
    if (!existsSync(archives)) return undefined;
    const start = `${wanted.package}_${wanted.version.replaceAll(":", "%3a")}_`;
    const name = (await readdir(archives)).find((entry) => entry.startsWith(start) && entry.endsWith(".deb"));
    return name === undefined ? undefined : join(archives, name);
  }

  async unpack(packageFile: string, target: string): Promise<void> {
    await exec("dpkg-deb", ["-x", packageFile, target], {
      log: this.#log,
      ...(this.#signal ? { signal: this.#signal } : {}),
    });
  }

  #options(): string[] {
    const settings = [
      `Dir::State=${this.#root}`,
      `Dir::State::Lists=${this.#root}/lists`,
      `Dir::State::status=${this.#root}/status`,
      `Dir::Cache=${this.#root}/cache`,
      `Dir::Etc::SourceList=${this.#root}/sources.list`,
      "Dir::Etc::SourceParts=-",
      "Acquire::Languages=none",
      // As root, apt would download as a user of its own, who can't write below root's cache.
      `APT::Sandbox::User=`,
    ];
    return settings.flatMap((setting) => ["-o", setting]);
  }

  async #aptGet(args: readonly string[], step: string, cwd = this.#root): Promise<void> {
    await exec("apt-get", [...this.#options(), "-o", "APT::Status-Fd=3", ...args], {
      cwd,
      log: this.#log,
      // dlstatus:<index>:<percent>:<text>
      onStatus: (line) => {
        const percent = /^dlstatus:\d+:([\d.]+):/.exec(line)?.[1];
        if (percent !== undefined) this.#progress.update(`${step}: ${Math.floor(Number(percent))} %`);
      },
      ...(this.#signal ? { signal: this.#signal } : {}),
    });
  }
}

/** The Debian mirror that this system uses; undefined on another distribution. */
async function findMirror(): Promise<string> {
  const targets = await capture("apt-get", ["indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL)"]);
  const line = targets.split("\n").find((target) => /^https?:.* Debian Debian$/.test(target));
  return line?.split(" ")[0] ?? FALLBACK_MIRROR;
}

/** Lines of `apt-cache madison`: package | version | where from. */
export function parseMadison(table: string): PackageVersion[] {
  return table.split("\n").flatMap((line) => {
    const [name, version] = line.split("|").map((cell) => cell.trim());
    return name && version ? [{ package: name, version }] : [];
  });
}

/** Debian's order of versions (deb-version(7)): epoch, upstream version, revision. */
export function compareDebianVersions(a: string, b: string): number {
  const [left, right] = [splitVersion(a), splitVersion(b)];
  return (
    left.epoch - right.epoch ||
    compareParts(left.upstream, right.upstream) ||
    compareParts(left.revision, right.revision)
  );
}

function splitVersion(version: string): { epoch: number; upstream: string; revision: string } {
  const colon = version.indexOf(":");
  const rest = version.slice(colon + 1);
  const dash = rest.lastIndexOf("-");
  return {
    epoch: colon < 0 ? 0 : Number(version.slice(0, colon)),
    upstream: dash < 0 ? rest : rest.slice(0, dash),
    revision: dash < 0 ? "0" : rest.slice(dash + 1),
  };
}

/** Text and numbers in turn: text by weight, numbers by value. */
function compareParts(a: string, b: string): number {
  let [left, right] = [a, b];
  while (left !== "" || right !== "") {
    const [textA, textB] = [leading(left, /^\D*/), leading(right, /^\D*/)];
    for (let index = 0; index < Math.max(textA.length, textB.length); index++) {
      const difference = weight(textA[index]) - weight(textB[index]);
      if (difference !== 0) return difference;
    }
    [left, right] = [left.slice(textA.length), right.slice(textB.length)];
    const [digitsA, digitsB] = [leading(left, /^\d*/), leading(right, /^\d*/)];
    const difference = Number(digitsA) - Number(digitsB);
    if (difference !== 0) return difference;
    [left, right] = [left.slice(digitsA.length), right.slice(digitsB.length)];
  }
  return 0;
}

function leading(text: string, pattern: RegExp): string {
  return pattern.exec(text)?.[0] ?? "";
}

/** A tilde sorts before the end of the text, letters before everything else. */
function weight(character: string | undefined): number {
  if (character === undefined) return 0;
  if (character === "~") return -1;
  return /[A-Za-z]/.test(character) ? character.charCodeAt(0) : character.charCodeAt(0) + 256;
}
