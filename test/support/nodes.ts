import { delimiter } from "node:path";

/** The Node that runs the tests, and others at hand: IOVA_NODES, paths of executables as PATH has them. */
export const nodes: readonly string[] = [
  process.execPath,
  ...(process.env["IOVA_NODES"] ?? "").split(delimiter).filter((path) => path !== ""),
];
