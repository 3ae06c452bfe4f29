/** `iova new-driver`: writes the package of a new driver from templates/driver/. */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { packageFile } from "../package-file.js";
import { print } from "../terminal.js";
import { gitignore, manifestOf, tsconfig } from "./manifest.js";
import { type NewDriverOptions, parseNewDriver, withoutScope } from "./options.js";
import { writeNewFolder } from "./write.js";

/** What the templates have in place of the driver's name and IDs. */
const TEMPLATE_VENDOR = "0xfff1";
const TEMPLATE_DEVICE = "0xfff2";

/** @throws ConfigError */
export function runNewDriver(argv: readonly string[]): void {
  const options = parseNewDriver(argv);
  const files = filesOf(options);
  writeNewFolder(options.folder, files);
  const folder = relative("", options.folder) || ".";
  const ids = `${hex(options.vendorId)}:${hex(options.deviceId)}`;
  print(`${options.name}, a driver for ${ids}, is in ${folder}: ${[...files.keys()].join(", ")}`);
  print(`Next: ${folder === "." ? "" : `cd ${folder} && `}npm install && npm test`);
}

/** The package's files by their paths in it. */
function filesOf(options: NewDriverOptions): ReadonlyMap<string, string> {
  const { name, vendorId, deviceId, folder } = options;
  const description = `Driver for the PCI device ${hex(vendorId)}:${hex(deviceId)}`;
  const json = (value: object): string => `${JSON.stringify(value, null, 2)}\n`;
  const files = new Map([
    ["package.json", json(manifestOf(name, description, folder))],
    ["tsconfig.json", json(tsconfig)],
    [".gitignore", gitignore],
  ]);
  const templates = packageFile("templates/driver");
  const paths = readdirSync(templates, { recursive: true, encoding: "utf8" }).filter((path) =>
    /\.\w+$/.test(path),
  );
  for (const path of paths.sort())
    files.set(path, filledIn(readFileSync(join(templates, path), "utf8"), options));
  return files;
}

function filledIn(template: string, { name, vendorId, deviceId }: NewDriverOptions): string {
  return template
    .replaceAll(TEMPLATE_VENDOR, hex(vendorId))
    .replaceAll(TEMPLATE_DEVICE, hex(deviceId))
    .replaceAll("Template", classPrefix(name))
    .replaceAll("template", withoutScope(name));
}

function hex(id: number): string {
  return `0x${id.toString(16).padStart(4, "0")}`;
}

/** `my-nic` becomes `MyNic`. A class can't begin with a digit. */
function classPrefix(name: string): string {
  const words = withoutScope(name).split(/[._-]+/);
  const joined = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
  return /^\d/.test(joined) ? `Pci${joined}` : joined;
}
