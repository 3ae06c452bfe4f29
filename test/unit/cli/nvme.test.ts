/** `iova nvme` as a process, against emulated controllers over vfio-user. */
import { randomFillSync } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runNvme } from "../../../src/cli/nvme/main.js";
import { ConfigError } from "../../../src/core/errors.js";
import { emulate, socketPath } from "../../support/emulators.js";
import { compileCli } from "../../support/iova-cli.js";
import { onTerminal } from "../../support/on-terminal.js";
import { runWithInput } from "../../support/run.js";

const MIB = 1 << 20;
const cli = compileCli();
const folder = mkdtempSync(join(tmpdir(), "iova-cli-"));
const emulators: { close(): Promise<void> }[] = [];
const targets = { plain: "", wide: "", zoned: "", two: "", cmb: "" };

beforeAll(async () => {
  const options = {
    // Four pages a command, so that longer transfers are split.
    plain: { sizeBytes: 16 * MIB, maxTransferBytes: 16_384 },
    wide: { sizeBytes: 16 * MIB, blockSizeBytes: 4096 },
    // More zones than fit in one report.
    zoned: { sizeBytes: 128 * MIB, zoned: { zoneSizeBytes: MIB, maxOpen: 4, maxActive: 8 } },
    two: { sizeBytes: 16 * MIB, namespaces: 2, serial: "two of them" },
    cmb: { sizeBytes: 16 * MIB, cmbBytes: MIB },
  } as const;
  for (const name of ["plain", "wide", "zoned", "two", "cmb"] as const) {
    const emulator = await emulate({ device: "nvme", options: options[name] });
    emulators.push(emulator);
    targets[name] = emulator.address;
  }
});

afterAll(async () => {
  for (const emulator of emulators) await emulator.close();
  rmSync(folder, { recursive: true, force: true });
  cli[Symbol.dispose]();
});

const nvme = (...args: readonly string[]) => cli.run(["nvme", ...args]);

/** The output of a successful run. */
async function output(...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await nvme(...args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout;
}

/** Expects a run to fail with one line and this status. */
async function refused(status: number, reason: string | RegExp, ...args: readonly string[]): Promise<void> {
  const result = await nvme(...args);
  expect(result.stderr).toMatch(/^iova: [^\n]+\n$/);
  expect(result.stderr).toMatch(reason);
  expect({ status: result.status, stdout: result.stdout }).toEqual({ status, stdout: "" });
}

function file(name: string, bytes: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const random = (length: number): Buffer => randomFillSync(Buffer.alloc(length));

test("iova help names nvme, and iova nvme without a subcommand prints its help", async () => {
  expect((await cli.run(["help"])).stdout).toContain("nvme SUBCOMMAND");
  expect(await output()).toContain("Usage: iova nvme SUBCOMMAND");
});

describe("wrong usage", () => {
  test.each([
    [["nonsense"], "nonsense"],
    [["identify"], "needs a target"],
    [["smart"], "needs a target"],
    [["read"], "needs a target"],
    [["write", "--data-file", "x", "--yes"], "needs a target"],
    [["identify", "vfio-user:/a", "vfio-user:/b"], "one target"],
    [["identify", "not-an-address"], "not-an-address"],
    [["identify", "vfio-user:"], "path of a socket"],
    [["list", "nowhere"], "nowhere"],
    [["identify", "vfio-user:/a", "--quickly"], "--quickly"],
    [["identify", "vfio-user:/a", "--cns", "everything"], "everything"],
    [["identify", "vfio-user:/a", "--cns", "toString"], "toString"],
    [["identify", "vfio-user:/a", "--namespace-id", "0"], "--namespace-id"],
    [["identify", "vfio-user:/a", "-o", "xml"], "xml"],
    [["smart", "vfio-user:/a", "--backend", "magic"], "magic"],
    [["smart", "vfio-user:/a", "--timeout", "soon"], "soon"],
    [["smart", "vfio-user:/a", "--json=yes"], "--json"],
    [["log", "vfio-user:/a"], "needs the name of a log"],
    [["log", "gossip", "vfio-user:/a"], "gossip"],
    [["log", "error", "vfio-user:/a", "--log-id", "2"], "not both"],
    [["log", "error", "vfio-user:/a", "--ot", "1"], "without a name"],
    [["log", "vfio-user:/a", "--log-id", "2", "--ot", "2"], "--ot"],
    [["feature", "vfio-user:/a"], "get or set"],
    [["feature", "get", "vfio-user:/a"], "--feature-id"],
    [["feature", "get", "vfio-user:/a", "-f", "7", "--sel", "best"], "best"],
    [["feature", "set", "vfio-user:/a", "-f", "7", "--yes"], "--value"],
    [["read", "vfio-user:/a", "--start-block", "-1"], "--start-block"],
    [["read", "vfio-user:/a", "--blocks", "0"], "--blocks"],
    [["read", "vfio-user:/a", "--blocks", "8", "--block-count", "8"], "differ"],
    [["read", "vfio-user:/a", "--data-file", ""], "--data-file"],
    [["write", "vfio-user:/a", "--yes"], "--data-file"],
    [["write", "vfio-user:/a", "--data-file", "-"], "--yes"],
    [["write", "vfio-user:/a", "--data-file", "/nowhere/at/all", "--yes"], "/nowhere/at/all"],
    [["trim", "vfio-user:/a", "--yes"], "--blocks"],
    [["trim", "vfio-user:/a", "--all", "--blocks", "1", "--yes"], "--all"],
    [["format", "vfio-user:/a", "--lbaf", "0", "--block-size", "512", "--yes"], "not both"],
    [["format", "vfio-user:/a", "--ses", "9", "--yes"], "--ses"],
    [["zns"], "report"],
    [["zns", "explode", "vfio-user:/a"], "explode"],
    [["zns", "reset", "vfio-user:/a", "--yes"], "--start-lba"],
    [["zns", "append", "vfio-user:/a", "--data", "x", "--yes"], "--zslba"],
    [["zns", "report", "vfio-user:/a", "--state", "odd"], "odd"],
  ])("nvme rejects %j before it opens anything", async (args, reason) => {
    const refusal = runNvme(args);
    await expect(refusal).rejects.toThrow(ConfigError);
    await expect(refusal).rejects.toThrow(reason);
    await expect(refusal).rejects.not.toThrow("\n");
  });

  test.each([
    [["nonsense"], "nonsense"],
    [["identify"], "needs a target"],
    [["identify", "vfio-user:/a", "--quickly"], "--quickly"],
    [["write", "vfio-user:/a", "--data-file", "/nowhere/at/all", "--yes"], "/nowhere/at/all"],
  ])("nvme %j ends with status 2 and one line", async (args, reason) => {
    await refused(2, reason, ...args);
  });

  test("without a terminal, each command that changes the device needs --yes", async () => {
    const data = file("block", random(512));
    for (const args of [
      ["write", targets.plain, "--data-file", data],
      ["trim", targets.plain, "--blocks", "1"],
      ["format", targets.plain],
      ["feature", "set", targets.plain, "-f", "4", "-V", "0x150"],
      ["zns", "reset", targets.zoned, "--select-all"],
      ["zns", "finish", targets.zoned, "--start-lba", "0"],
      ["zns", "append", targets.zoned, "--zslba", "0", "--data", data],
    ]) {
      await refused(2, "--yes", ...args);
    }
  });
});

describe("missing targets and objects", () => {
  test.each([
    [["identify", `vfio-user:${socketPath()}`], "ENOENT"],
    [["list", `vfio-user:${socketPath()}`], "ENOENT"],
    [["regs", `vfio-user:${socketPath()}`], "ENOENT"],
    [["smart", "ffff:ff:1f.7"], "there is no PCI device ffff:ff:1f.7"],
  ])("nvme %j ends with status 1 and one line", async (args, reason) => {
    await refused(1, reason, ...args);
  });

  test("a missing namespace, feature, log, block or zone is an error that names it", async () => {
    const { plain, two, zoned } = targets;
    await refused(1, "namespace 9", "read", plain, "--namespace-id", "9");
    for (const name of ["identify", "id-ns", "ns-descs", "nvm-id-ns", "cmdset-ind-id-ns"])
      await refused(1, "has no active namespace 9: it has 1, 2", name, two, "-n", "9");
    await refused(1, "say which with --namespace-id", "read", two);
    await refused(1, "Invalid Field", "feature", "get", plain, "--feature-id", "0x7f");
    await refused(1, /Invalid Log Page/, "log", plain, "--log-id", "0xdf");
    await refused(
      1,
      /support an index for log page 0x01/,
      "log",
      plain,
      "--log-id",
      "1",
      "--ot",
      "1",
      "--lpo",
      "2",
    );
    await refused(1, "beyond the end of namespace 1, which has 32768 blocks", "read", plain, "-s", "32768");
    await refused(1, "beyond the end", "read", plain, "-s", "32767", "--blocks", "2");
    await refused(1, "beyond the end", "trim", plain, "-s", "32767", "--blocks", "2", "--yes");
    await refused(1, "no zones", "zns", "report", plain);
    await refused(1, /zone/i, "zns", "open", zoned, "--start-lba", "1");
    await refused(1, "LBA formats 0 to", "format", plain, "--lbaf", "40", "--yes");
  });
});

describe("list", () => {
  test("list shows a target as a table and as JSON", async () => {
    const text = await output("list", targets.two);
    expect(text).toContain("two of them");
    expect(text.match(/8\.39 MB/g)).toHaveLength(4);
    expect(await cli.json("nvme", "list", targets.two)).toEqual({
      Devices: [
        expect.objectContaining({
          Address: targets.two,
          Driver: "vfio-user",
          Transport: "vfio-user",
          SerialNumber: "two of them",
          ModelNumber: "iova emulated NVMe controller",
          Namespaces: [1, 2].map((NameSpace) =>
            expect.objectContaining({
              NameSpace,
              SectorSize: 512,
              MaximumLBA: 16384,
              PhysicalSize: 8 * MIB,
            }),
          ),
          Notes: [],
        }),
      ],
    });
  });

  test("list names the quirks of a controller, which --quirks changes", async () => {
    const { two } = targets;
    expect(await output("list", two, "--quirks", "+no-write-zeroes")).not.toContain("quirk");
    const text = await output("list", two, "-v", "--quirks", "+no-write-zeroes");
    expect(text).toContain("quirk no-write-zeroes: Write Zeroes hangs");
    expect(await cli.json("nvme", "list", two, "--quirks", "no-write-zeroes")).toMatchObject({
      Devices: [{ Quirks: [{ Name: "no-write-zeroes", Source: "option quirks" }] }],
    });
    expect(await cli.json("nvme", "list", two)).toMatchObject({ Devices: [{ Quirks: [] }] });
    expect(await output("list", two, "-v")).toContain(`${two}: quirks: none`);
    await refused(2, "there is no quirk", "list", two, "--quirks", "+nonsense");
  });

  test("list without targets lists this host's controllers", async () => {
    expect(await cli.json("nvme", "list")).toEqual({ Devices: expect.any(Array) });
  });
});

describe("identify", () => {
  test("identify prints the controller's structure under each of its names", async () => {
    const json = await cli.json("nvme", "identify", targets.plain);
    expect(json).toMatchObject({
      sn: "IOVA0001            ",
      mdts: 2,
      sqes: 0x66,
      cqes: 0x44,
      cntrltype: 1,
      tnvmcap: String(16 * MIB),
      psds: [expect.objectContaining({ max_power: expect.any(Number) })],
    });
    expect(JSON.parse(await output("id-ctrl", targets.plain, "-o", "json"))).toEqual(json);
    const text = await output("identify", targets.plain);
    expect(text).toMatch(/^mdts +: 2 \(4 pages/m);
    expect(text).toMatch(/^sqes +: 0x66$/m);
    expect(text).toMatch(/^oacs .*format/m);
  });

  test("identify prints a namespace, its descriptors, and the list of namespaces", async () => {
    const { two } = targets;
    const json = await cli.json("nvme", "id-ns", two, "-n", "2");
    expect(json).toMatchObject({ nsze: 16384, lbafs: expect.arrayContaining([{ ms: 0, ds: 9, rp: 0 }]) });
    expect(await cli.json("nvme", "identify", two, "--namespace-id", "2")).toEqual(json);
    expect(await output("id-ns", two, "-n", "2")).toMatch(/^lbaf +0 : 512 bytes.*\(in use\)$/m);
    expect(await cli.json("nvme", "list-ns", two)).toEqual({ nsid_list: [{ nsid: 1 }, { nsid: 2 }] });
    expect(await cli.json("nvme", "list-ns", two, "-n", "2")).toEqual({ nsid_list: [{ nsid: 2 }] });
    expect(await cli.json("nvme", "ns-descs", two, "-n", "1")).toEqual({
      "ns-descs": expect.arrayContaining([expect.objectContaining({ type: "csi", csi: "0" })]),
    });
  });

  test("identify prints structures of the command sets, and any other as bytes", async () => {
    const { plain, zoned } = targets;
    expect(await cli.json("nvme", "nvm-id-ctrl", plain)).toMatchObject({ vsl: expect.any(Number) });
    expect(await cli.json("nvme", "zns", "id-ns", zoned)).toMatchObject({
      mar: 7,
      mor: 3,
      lbafe: expect.arrayContaining([{ zsze: 2048, zdes: 0 }]),
    });
    expect(await cli.json("nvme", "zns", "id-ctrl", zoned)).toEqual({ zasl: expect.any(Number) });
    const { status, bytes } = await nvme("identify", plain, "--cns", "1", "--raw-binary");
    expect({ status, length: bytes.length }).toEqual({ status: 0, length: 4096 });
    expect(bytes.toString("latin1", 4, 12)).toBe("IOVA0001");
    expect(await output("identify", plain, "--cns", "0x10")).toMatch(/^0000: /);
  });
});

test("smart prints the health log as text and as JSON", async () => {
  const json = await cli.json("nvme", "smart", targets.plain);
  expect(json).toMatchObject({ critical_warning: 0, percent_used: 0, data_units_read: expect.any(String) });
  expect(JSON.parse(await output("smart-log", targets.plain, "-o", "json"))).toMatchObject({
    temperature: expect.any(Number),
  });
  expect(await output("smart", targets.plain)).toMatch(/^temperature +: -?\d+ °C \(\d+ K\)$/m);
});

describe("log", () => {
  test("log prints each page that has a name", async () => {
    const { plain } = targets;
    await refused(1, "Invalid Field", "feature", "get", plain, "--feature-id", "0x7e");
    expect(await output("log", "error", plain)).toMatch(
      /^status_field +: 0x[0-9a-f]+ \(Invalid Field in Command\)$/m,
    );
    expect(await cli.json("nvme", "error-log", plain)).toEqual({
      errors: Array.from({ length: 64 }, () => expect.objectContaining({ error_count: expect.any(Number) })),
    });
    expect(await output("log", "firmware", plain)).toMatch(/^afi +: 0x1 \(slot 1 is active\)$/m);
    expect(await cli.json("nvme", "fw-log", plain)).toEqual({
      [plain]: { "Active Firmware Slot (afi)": 1, "Firmware Rev Slot 1": expect.stringContaining("(1.0") },
    });
    expect(await cli.json("nvme", "effects-log", plain)).toEqual([
      {
        command_set_identifier: 0,
        admin_cmd_set: expect.objectContaining({ "ACS_6 (Identify)": 1 }),
        io_cmd_set: expect.objectContaining({ "IOCS_1 (Write)": 3, "IOCS_9 (Dataset Management)": 3 }),
      },
    ]);
    expect(await output("log", "changed-ns", plain)).toContain("no namespace changed");
    expect(await output("log", "supported", plain)).toMatch(/^0x02 : /m);
    expect(await cli.json("nvme", "log", "smart", plain)).toMatchObject({ critical_warning: 0 });
    expect(await cli.json("nvme", "sanitize-log", plain)).toMatchObject({ [plain]: { sprog: 65_535 } });
    expect(await output("log", "self-test", plain)).toContain("none runs");
    expect(await output("log", "endurance", plain)).toContain("100");
  });

  test("log prints any page as bytes", async () => {
    const { plain } = targets;
    const { bytes } = await nvme("get-log", plain, "--log-id", "3", "--log-len", "64", "--raw-binary");
    expect(bytes).toHaveLength(64);
    expect(bytes[0]).toBe(1);
    expect(await cli.json("nvme", "log", plain, "-i", "3", "-l", "64")).toEqual({
      lid: 3,
      data: bytes.toString("hex"),
    });
  });
});

describe("feature", () => {
  test("feature get prints a value, its fields and its data", async () => {
    const { plain } = targets;
    expect(await cli.json("nvme", "feature", "get", plain, "--feature-id", "4")).toMatchObject({
      fid: 4,
      sel: "current",
      fields: { tmpth: 343 },
    });
    expect(await output("get-feature", plain, "-f", "7")).toMatch(/^nsqa +: \d+ \(zero-based\)$/m);
    expect(await cli.json("nvme", "feature", "get", plain, "-f", "0x0e")).toMatchObject({
      data: expect.stringMatching(/^[0-9a-f]{16}$/),
    });
  });

  test("feature set sets a value, and rejects an empty file", async () => {
    const { plain } = targets;
    expect(await output("feature", "set", plain, "-f", "4", "-V", "0x150", "--yes")).toContain("next reset");
    await refused(1, /^iova: Set Features/, "set-feature", plain, "-f", "0x7f", "-V", "1", "--yes");
    const empty = file("empty", "");
    await refused(1, "1 to 4096 bytes", "feature", "set", plain, "-f", "0x0e", "-d", empty, "--yes");
  });
});

test("regs prints registers with their fields", async () => {
  const { cmb } = targets;
  const json = await cli.json("nvme", "regs", cmb, "--enable");
  expect(json).toMatchObject({ vs: 0x20000, csts: 1, aqa: expect.any(Number), cmbsz: expect.any(Number) });
  const text = await output("regs", cmb, "--enable");
  expect(text).toMatch(/^CAP .*Controller Capabilities$/m);
  expect(text).toMatch(/^ {2}NVMe 2\.0\.0$/m);
  expect(text).toMatch(/^CMBSZ .*\n(.*\n)* {2}shown by the controller only while CMBMSC.CRE is set$/m);
  expect(await cli.json("nvme", "show-regs", cmb)).toMatchObject({ csts: 0, asq: 0 });
});

describe("read and write", () => {
  test.each(["plain", "wide"] as const)(
    "write and read move far more than one command carries, on the %s controller",
    async (name) => {
      const target = targets[name];
      const data = random(5 * MIB + 12_288);
      const from = file(`${name}.in`, data);
      const to = join(folder, `${name}.out`);
      const block = name === "plain" ? 512 : 4096;
      await output("write", target, "--start-block", "7", "--data-file", from, "--yes");
      const blocks = String(data.length / block);
      await output("read", target, "--start-block", "7", "--blocks", blocks, "--data-file", to);
      expect(readFileSync(to).equals(data)).toBe(true);
      const { status, bytes } = await nvme(
        "read",
        target,
        "-s",
        "7",
        "-c",
        String(data.length / block - 1),
        "-d",
        "-",
      );
      expect(status).toBe(0);
      expect(bytes.equals(data)).toBe(true);
      const size = String(block * 3);
      const part = await nvme("read", target, "-s", "8", "-z", size, "--data", "-");
      expect(part.bytes.equals(data.subarray(block, 4 * block))).toBe(true);
    },
  );

  test("write takes its data from standard input", async () => {
    const { plain } = targets;
    const data = random(100_352);
    const written = await cli.run(["nvme", "write", plain, "-s", "100", "-d", "-", "--yes"], data);
    expect({ status: written.status, stderr: written.stderr }).toEqual({ status: 0, stderr: "" });
    expect((await nvme("read", plain, "-s", "100", "--blocks", "196")).bytes.equals(data)).toBe(true);
    // It writes only the blocks asked for, although there is more input.
    await cli.run(["nvme", "write", plain, "-s", "100", "--blocks", "1", "-d", "-", "--yes"], random(2048));
    const after = await nvme("read", plain, "-s", "101", "--blocks", "195");
    expect(after.bytes.equals(data.subarray(512))).toBe(true);
  });

  test("write and read reject data that doesn't fit, before they write anything", async () => {
    const { plain } = targets;
    const odd = file("odd", random(700));
    const two = file("two", random(1024));
    const before = await nvme("read", plain, "--blocks", "4");
    await refused(1, "no whole number of blocks", "write", plain, "-d", odd, "--yes");
    await refused(1, "is empty", "write", plain, "-d", file("none", ""), "--yes");
    await refused(
      1,
      "has 1024 bytes; 3 blocks are 1536",
      "write",
      plain,
      "--blocks",
      "3",
      "-d",
      two,
      "--yes",
    );
    await refused(1, "beyond the end", "write", plain, "-s", "32767", "-d", two, "--yes");
    await refused(1, "700 bytes are no whole number", "read", plain, "-z", "700");
    await refused(2, "EISDIR", "read", plain, "-d", folder);
    await refused(2, "is a folder", "write", plain, "-d", folder, "--yes");
    const short = await cli.run(["nvme", "write", plain, "-d", "-", "--yes"], random(100));
    expect(short).toMatchObject({ status: 1, stderr: expect.stringContaining("in the middle of a block") });
    const nothing = await cli.run(["nvme", "write", plain, "-d", "-", "--yes"]);
    expect(nothing).toMatchObject({ status: 1, stderr: expect.stringContaining("is empty") });
    expect((await nvme("read", plain, "--blocks", "4")).bytes.equals(before.bytes)).toBe(true);
  });

  test("read creates no file if the blocks don't exist", async () => {
    const path = join(folder, "never");
    await refused(1, "beyond the end", "read", targets.plain, "-s", "99999999", "-d", path);
    expect(existsSync(path)).toBe(false);
  });

  test("read ends quietly if its reader ends early, and reports a full disk", async () => {
    const command = `"${process.execPath}" "${cli.path}" nvme read "${targets.plain}" --blocks 32768`;
    const early = await runWithInput("sh", ["-c", `${command} | head -c 5 | wc -c`]);
    expect({ out: early.stdout.trim(), err: early.stderr }).toEqual({ out: "5", err: "" });
    const full = await runWithInput("sh", ["-c", `${command} > /dev/full`]);
    expect(full.status).toBe(1);
    expect(full.stderr).toMatch(/^iova: standard output: ENOSPC[^\n]*\n$/);
  });
});

test("trim deallocates a range or the whole namespace", async () => {
  const { plain } = targets;
  const data = random(4096);
  await output("write", plain, "-s", "2000", "-d", file("trim", data), "--yes");
  expect(await output("trim", plain, "-s", "2001", "--blocks", "2", "--yes")).toContain(
    "blocks 2001 to 2002",
  );
  data.fill(0, 512, 1536);
  expect((await nvme("read", plain, "-s", "2000", "--blocks", "8")).bytes.equals(data)).toBe(true);
  expect(await output("trim", plain, "--all", "--yes")).toContain("blocks 0 to 32767");
  expect((await nvme("read", plain, "-s", "2000")).bytes.equals(Buffer.alloc(512))).toBe(true);
});

test("format changes the block size and erases the data", async () => {
  const { two } = targets;
  await output("write", two, "-n", "1", "-d", file("format", random(512)), "--yes");
  expect(await output("format", two, "-n", "1", "--block-size", "4096", "--yes")).toContain("namespace 1");
  expect(await cli.json("nvme", "list", two)).toMatchObject({
    Devices: [{ Namespaces: [{ SectorSize: 4096, MaximumLBA: 2048 }, { SectorSize: 512 }] }],
  });
  expect((await nvme("read", two, "-n", "1")).bytes.equals(Buffer.alloc(4096))).toBe(true);
  await output("format", two, "-n", "1", "--lbaf", "0", "--yes");
  expect(await output("id-ns", two, "-n", "1")).toMatch(/^lbaf +0 .*\(in use\)$/m);
});

describe("zns", () => {
  test("zns report lists all zones, with more than one command", async () => {
    const { zoned } = targets;
    const report = await cli.json("nvme", "zns", "report", zoned);
    const zones = Array.from({ length: 128 }, (_, index) => expect.objectContaining({ slba: index * 2048 }));
    expect(report).toEqual({ nr_zones: 128, zone_list: zones });
    const part = await cli.json("nvme", "zns", "report-zones", zoned, "-s", "4096", "-d", "70");
    expect(part).toEqual({ nr_zones: 128, zone_list: zones.slice(2, 72) });
  });

  test("zns opens, appends to, closes, finishes and resets a zone", async () => {
    const { zoned } = targets;
    const state = async (): Promise<unknown> =>
      cli.json("nvme", "zns", "report", zoned, "-s", "2048", "-d", "1");
    const zone = (fields: object): object => ({ zone_list: [expect.objectContaining(fields)] });
    await output("zns", "open", zoned, "--start-lba", "2048");
    expect(await state()).toMatchObject(zone({ state: "EXP_OPENED", wp: 2048 }));
    const data = random(1536);
    const path = file("zone", data);
    expect(await output("zns", "append", zoned, "--zslba", "2048", "-d", path, "--yes")).toContain(
      "at block 2048",
    );
    expect(await cli.json("nvme", "zns", "zone-append", zoned, "-s", "2048", "-d", path, "--yes")).toEqual({
      nsid: 1,
      zslba: 2048,
      alba: 2051,
      blocks: 3,
    });
    expect((await nvme("read", zoned, "-s", "2051", "--blocks", "3")).bytes.equals(data)).toBe(true);
    await output("zns", "close", zoned, "--start-lba", "2048");
    expect(await state()).toMatchObject(zone({ state: "CLOSED", wp: 2054 }));
    const closed = await cli.json("nvme", "zns", "report", zoned, "--state", "closed");
    expect(closed).toMatchObject({ nr_zones: 1, zone_list: [{ slba: 2048 }] });
    await output("zns", "finish", zoned, "--start-lba", "2048", "--yes");
    expect(await state()).toMatchObject(zone({ state: "FULL" }));
    await output("zns", "reset", zoned, "--select-all", "--yes");
    expect(await state()).toMatchObject(zone({ state: "EMPTY", wp: 2048 }));
  });

  test("zns append rejects data that doesn't fit", async () => {
    const { zoned } = targets;
    const odd = file("odd-zone", random(600));
    const long = file("long-zone", random(2 * MIB));
    const append = ["zns", "append", zoned, "-s", "0", "--yes", "-d"];
    await refused(1, "no whole number of blocks", ...append, odd);
    await refused(1, "one append can carry", ...append, long);
    await refused(1, "not 512", ...append, file("short-zone", random(100)), "-z", "512");
  });
});

describe("on a terminal", () => {
  test.each([
    ["y\n", 0],
    ["n\n", 1],
    // Ctrl-D ends the input without an answer.
    ["\u0004", 1],
  ])("write on a terminal asks; after the answer %j the status is %i", async (answer, status) => {
    const { plain } = targets;
    const data = random(512);
    const before = await nvme("read", plain, "-s", "9");
    const asked = await onTerminal(
      answer,
      cli.path,
      "nvme",
      "write",
      plain,
      "-s",
      "9",
      "-d",
      file("asked", data),
    );
    expect(asked.stdout).toContain("This overwrites block 9 of namespace 1 (iova emulated NVMe controller");
    expect(asked.status).toBe(status);
    if (status !== 0) expect(asked.stdout).toContain("iova: nothing was changed");
    const after = await nvme("read", plain, "-s", "9");
    expect(after.bytes.equals(status === 0 ? data : before.bytes)).toBe(true);
  });

  test("read on a terminal prints a hex dump", async () => {
    const shown = await onTerminal("", cli.path, "nvme", "read", targets.wide, "-s", "4000");
    expect(shown.stdout).toMatch(/^0000: (00 ){16}/);
  });
});
