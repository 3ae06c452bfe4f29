/** Files of npm packages that the tests need in several versions, kept in the guest tool's cache. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/**
 * @param label names the folder in the cache, with its version
 * @param members of the package that are kept: files or folders
 * @returns the folder with them, fetched if the cache lacks it @throws Error in one line if it can't be fetched
 */
export function fetched(label: string, spec: string, members: readonly string[]): string {
  const folder = join(homedir(), ".cache", "iova", label);
  if (existsSync(folder)) return folder;
  const partial = `${folder}.${process.pid}`;
  try {
    process.stderr.write(`fetching ${spec} (once) ...\n`);
    mkdirSync(partial, { recursive: true });
    const tarball = execFileSync("npm", ["pack", spec, "--silent", "--pack-destination", partial], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
    const kept = members.map((member) => `package/${member}`);
    execFileSync("tar", ["-xzf", join(partial, tarball), "--strip-components=1", "-C", partial, ...kept]);
    rmSync(join(partial, tarball));
    renameSync(partial, folder);
  } catch (cause) {
    rmSync(partial, { recursive: true, force: true });
    throw new Error(
      `${spec} can't be fetched from the npm registry; put ${members.join(", ")} into ${folder}`,
      {
        cause,
      },
    );
  }
  return folder;
}
