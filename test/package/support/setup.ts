/**
 * Packs the package and installs the tarball into an empty folder, so that the tests see what users get. The build must be
 * up to date. Only Node versions that the cache lacks are fetched.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { TestProject } from "vitest/node";
import { packageRoot } from "../../../guest/paths.js";

declare module "vitest" {
  interface ProvidedContext {
    /** Folder whose node_modules has the installed package. */
    installed: string;
    tarballBytes: number;
  }
}

/** Packages that the installed one and the tests' programs import. */
const NEIGHBOURS = ["koffi", "@koromix", "zod", "@types", "undici-types", "vitest", "jest"];

export default function setup(project: TestProject): () => void {
  const root = packageRoot();
  const folder = mkdtempSync(join(tmpdir(), "iova-package-"));
  const output = execFileSync("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", folder], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [{ filename }]: [{ filename: string }] = JSON.parse(output);
  const tarball = join(folder, filename);
  const installed = join(folder, "node_modules", "iova");
  mkdirSync(installed, { recursive: true });
  execFileSync("tar", ["-xzf", tarball, "--strip-components=1", "-C", installed]);
  for (const name of NEIGHBOURS) {
    const link = join(folder, "node_modules", name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(root, "node_modules", name), link);
  }
  project.provide("installed", folder);
  project.provide("tarballBytes", statSync(tarball).size);
  return () => rmSync(folder, { recursive: true, force: true });
}
