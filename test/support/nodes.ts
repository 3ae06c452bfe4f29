/** The Node.js executables that hot-path tests run on. */
import { delimiter } from "node:path";

/** The Node that runs the tests, and those of IOVA_NODES (paths separated by colons). */
export const nodes: readonly string[] = [
  process.execPath,
  ...(process.env["IOVA_NODES"] ?? "").split(delimiter).filter((path) => path !== ""),
];
