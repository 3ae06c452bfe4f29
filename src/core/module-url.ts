/** Where this code lies, also after an application's bundler has put it into another file. */
import module from "node:module";
import { pathToFileURL } from "node:url";

/** `file:` URL of the running file. A bundler that makes CommonJS leaves `import.meta` without a URL. */
export const moduleUrl: string =
  typeof import.meta.url === "string" ? import.meta.url : pathToFileURL(__filename).href;

/**
 * Finds packages from here on up, as an `import` in this file does. The name isn't imported by itself: webpack would try to
 * evaluate the call, and leave `undefined`.
 */
export const requireFromHere = module.createRequire(moduleUrl);
