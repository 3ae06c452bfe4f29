#!/usr/bin/env node
/** The `iova` command: turns on Node's compile cache where it has one (22.1 and later), then loads the command itself. */
import module from "node:module";

if ("enableCompileCache" in module && typeof module.enableCompileCache === "function") {
  module.enableCompileCache();
}
await import("./main.js");
