/**
 * koffi, by require(): for an import Node first reads the text of a CommonJS module for the names it exports, which takes
 * longer than to run it.
 */
import { createRequire } from "node:module";
import type Koffi from "koffi";

const require = createRequire(import.meta.url);

export const koffi: typeof Koffi = require("koffi");
