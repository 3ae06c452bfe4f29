/** The package on a system that isn't Linux: importing it works, and each use says what it takes. Node.js is told that it runs there. */
import { join } from "node:path";
import { expect, inject, test } from "vitest";
import { doorNames } from "../../build/doors.js";
import { runWithInput } from "../support/run.js";
import { project, runIn } from "./support/project.js";

const USES = `
Object.defineProperty(process, "platform", { value: process.argv[2] });
const doors = ${JSON.stringify(doorNames.map((name) => (name === "iova" ? name : `iova/${name}`)))};
const all = Object.assign({}, ...(await Promise.all(doors.map((name) => import(name)))));
const uses = {
  list: () => all.listPciFunctions(),
  "read a function": () => all.readPciFunction("0000:00:03.0"),
  bind: () => all.bindToVfio("0000:00:03.0"),
  unbind: () => all.unbindFromVfio("0000:00:03.0"),
  "open a function": () => all.PciDevice.open("0000:00:03.0"),
  "open a socket": () => all.PciDevice.open("vfio-user:/tmp/none"),
  "open NVMe": () => all.NvmeController.open("0000:00:03.0"),
  iommufd: () => all.Iommufd.open(),
  "list mediated devices": () => all.listMediatedDevices(),
  doctor: () => all.doctor(),
  emulator: () => all.startEmulator({ socket: "/tmp/none", device: "edu" }),
};
for (const [name, use] of Object.entries(uses)) {
  let found = "nothing is thrown";
  try {
    await use();
  } catch (error) {
    found = error instanceof all.UnsupportedError ? error.message : error.stack;
  }
  console.log(name + ": " + found);
}
`;

test.each(["darwin", "win32"])(
  "on %s every entry point can be imported, and each use says that it takes Linux",
  async (platform) => {
    const folder = project({ "package.json": '{ "type": "module" }', "uses.js": USES });
    const lines = (await runIn(folder, process.execPath, "uses.js", platform)).trim().split("\n");
    expect(lines).toHaveLength(11);
    for (const line of lines)
      expect(line).toMatch(new RegExp(`: iova needs Linux, .*; this is ${platform}: `));
  },
);

test.each([
  ["bun", "Bun 1.4.5 lacks libuv's uv_poll_init_socket"],
  ["deno", "Deno 1.4.5 lacks dgram's bind"],
])("in %s every entry point can be imported, and what needs Node.js says so", async (runtime, lack) => {
  const program = `
    const versions = { ...process.versions, [process.argv[2]]: "1.4.5" };
    Object.defineProperty(process, "versions", { value: versions });
    const { Iommufd } = await import("iova/iommufd");
    const { startEmulator } = await import("iova/emulator");
    for (const use of [() => Iommufd.open(), () => startEmulator({ socket: "./none", device: "edu", options: {} })]) {
      try {
        await use();
      } catch (error) {
        console.log(error.name + ": " + error.message);
      }
    }`;
  const folder = project({ "package.json": '{ "type": "module" }', "uses.js": program });
  const lines = (await runIn(folder, process.execPath, "uses.js", runtime)).trim().split("\n");
  expect(lines).toHaveLength(2);
  for (const line of lines) expect(line).toContain(`UnsupportedError: iova needs Node.js: ${lack}`);
});

test("where koffi can't be loaded every entry point can be imported, and what calls the C library says how to get it", async () => {
  const program = `
    Object.defineProperty(process, "arch", { value: "s390x" });
    const { UnsupportedError, listPciFunctions } = await import("iova");
    const { Iommufd } = await import("iova/iommufd");
    listPciFunctions();
    try {
      Iommufd.open();
    } catch (error) {
      console.log(error instanceof UnsupportedError, error.message);
    }`;
  const folder = project({ "package.json": '{ "type": "module" }', "uses.js": program });
  expect(await runIn(folder, process.execPath, "uses.js")).toMatch(
    /^true koffi, by which iova calls the C library, can't be loaded on linux s390x: .* \(npm rebuild koffi\)/,
  );
});

test("on another system the command says so in one line, and its help works", async () => {
  const cli = join(inject("installed"), "node_modules", "iova", "dist", "lib", "cli.js");
  const pretend = `data:text/javascript,Object.defineProperty(process, "platform", { value: "darwin" })`;
  const run = async (...args: string[]) =>
    await runWithInput(process.execPath, ["--import", pretend, cli, ...args]);
  const help = await run("--help");
  expect(help).toMatchObject({ status: 0, stderr: "" });
  const list = await run("list");
  expect(list.status).toBe(1);
  expect(list.stderr.trim().split("\n")).toEqual([expect.stringContaining("iova needs Linux")]);
});
