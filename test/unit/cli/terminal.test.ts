/** Text of devices on its way to a terminal: serial numbers and messages with characters that a terminal obeys. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { type Json, toJson } from "../../../src/cli/nvme/output.js";
import { deviceText, printJsonText } from "../../../src/cli/terminal.js";
import { visible, visibleLines } from "../../../src/core/visible.js";
import { EmulatedNvme } from "../../../src/emulator/nvme/controller.js";
import { identifyController } from "../../../src/nvme/spec/identify.js";
import { firmwareSlotLog } from "../../../src/nvme/spec/log-pages.js";
import { Command } from "../../../src/vfio-user/protocol/protocol.js";
import { VfioUserServer } from "../../../src/vfio-user/server/server.js";
import { socketPath } from "../../support/emulators.js";
import { compileCli, type IovaCli } from "../../support/iova-cli.js";
import { onTerminal } from "../../support/on-terminal.js";
import { RawServer } from "../../support/raw-vfio-user.js";

const RED = "\x1b[31m";
const OVERRIDE = "\u202e";
/** What no output may contain, except for the newlines between its lines. */
const UNSAFE = /[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}]/u;

describe("text for a terminal", () => {
  test.each([
    ["letters", "plain text, é, µ and 漢", "plain text, é, µ and 漢"],
    ["an escape sequence", `${RED}red`, "\\x1b[31mred"],
    ["C0 and DEL", "a\nb\rc\td\0e\x7f", "a\\x0ab\\x0dc\\x09d\\x00e\\x7f"],
    ["C1", "\x9b31m", "\\x9b31m"],
    [
      "format characters",
      `${OVERRIDE}\u2066\u200b\u2028\u{e0041}`,
      "\\u{202e}\\u{2066}\\u{200b}\\u{2028}\\u{e0041}",
    ],
    ["half a surrogate pair", "half \ud83d", "half \\u{d83d}"],
  ])("shows what a terminal obeys as numbers, and the rest as it is: %s", (_what, text, shown) => {
    expect(visible(text)).toBe(shown);
    expect(visible(shown)).toBe(shown);
  });

  test("keeps the newlines of text that has several lines", () => {
    expect(visibleLines(`a\nb${RED}\n`)).toBe("a\nb\\x1b[31m\n");
  });

  test("ends a device's string at the first NUL, and drops the blanks around it", () => {
    expect(deviceText("  AB C  \0 more")).toBe("AB C");
    expect(deviceText("\0AB")).toBe("");
  });

  test("escapes in JSON what JSON.stringify() leaves as it is, and keeps its value", () => {
    const value: Json = { serial: `${RED}\n\x7f\x9b${OVERRIDE}\u{e0041}é`, list: [1n, null] };
    const write = vi.spyOn(process.stdout, "write").mockReturnValue(true);
    try {
      printJsonText(toJson(value));
      const printed = String(write.mock.calls[0]?.[0]);
      expect(printed).not.toMatch(UNSAFE);
      expect(JSON.parse(printed)).toEqual({ ...value, list: [1, null] });
    } finally {
      write.mockRestore();
    }
  });

  test("passes through terminal.ts wherever the command prints it", () => {
    const folder = join(packageRoot(), "src/cli");
    const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) =>
      name.endsWith(".ts"),
    );
    expect(files.length).toBeGreaterThan(50);
    const writes = files.flatMap((name) =>
      [
        ...readFileSync(join(folder, name), "utf8").matchAll(/std(?:out|err)\.write\(.*|console\.\w+\(.*/g),
      ].map(([text]) => `${name}: ${text}`),
    );
    const others = writes.filter((each) => !each.startsWith("terminal.ts: "));
    // Bytes that were asked for as they are.
    expect(others.sort()).toEqual([
      "nvme/command.ts: stdout.write(bytes);",
      "nvme/commands/data-file.ts: stdout.write(Buffer.from(bytes), (error) => {",
      "nvme/commands/identify.ts: stdout.write(page);",
      "nvme/commands/log.ts: stdout.write(bytes);",
    ]);
  });
});

describe("a hostile controller", () => {
  const field = (length: number, text: string, encoding: "latin1" | "utf8" = "latin1"): Buffer =>
    Buffer.concat([Buffer.from(text, encoding), Buffer.alloc(length, " ")]).subarray(0, length);
  /** Identify Controller from byte 4 on: serial number, model, firmware revision. */
  const strings = Buffer.concat([
    field(20, `  S${RED}\n1\x9b2\x7f\0hidden`),
    field(40, `M\r\n${OVERRIDE}`, "utf8"),
    field(8, "F\x1bc\x0b\x9d\0xx"),
  ]);
  let cli: IovaCli;
  let device: EmulatedNvme;
  let server: VfioUserServer;
  let target: string;

  beforeAll(() => {
    cli = compileCli();
    const { encode } = identifyController;
    vi.spyOn(identifyController, "encode").mockImplementation((values) => {
      const page = encode(values);
      page.set(strings, 4);
      page.set(Buffer.from(`nqn${RED}\n\0`), 768);
      return page;
    });
    const encodeLog = firmwareSlotLog.encode;
    vi.spyOn(firmwareSlotLog, "encode").mockImplementation((values) => {
      const page = encodeLog(values);
      page.set(Buffer.from("F\x1bc\n\x9b"), 8);
      return page;
    });
    device = EmulatedNvme.create({ sizeBytes: 1 << 20 });
    server = new VfioUserServer(socketPath(), device);
    target = `vfio-user:${server.path}`;
  });
  afterAll(() => {
    vi.restoreAllMocks();
    server.close();
    device.close();
    cli[Symbol.dispose]();
  });

  async function output(...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await cli.run(["nvme", ...args]);
    expect({ args, status, stderr }).toEqual({ args, status: 0, stderr: "" });
    expect(stdout).not.toMatch(UNSAFE);
    return stdout;
  }

  test("has one visible serial number in all tables and JSON, which ends at the NUL", async () => {
    const list = await output("list", target);
    // Headings, a line below them, and one namespace: the newline in the serial number begins no row.
    expect(list.trimEnd().split("\n")).toHaveLength(3);
    expect(list).toContain("  S\\x1b[31m\\x0a1\\x9b2\\x7f  M\\x0d\\x0aâ\\x80®  ");
    const identify = await output("identify", target);
    expect(identify).toMatch(/^sn +: S\\x1b\[31m\\x0a1\\x9b2\\x7f$/m);
    expect(identify).toMatch(/^fr +: F\\x1bc\\x0b\\x9d$/m);
    expect(identify).toMatch(/^subnqn +: nqn\\x1b\[31m\\x0a$/m);
    const serial = `S${RED}\n1\x9b2\x7f`;
    expect(JSON.parse(await output("list", target, "--json"))).toMatchObject({
      Devices: [{ SerialNumber: serial, Firmware: "F\x1bc\x0b\x9d" }],
    });
    // Blanks are kept here, as nvme-cli keeps them.
    expect(JSON.parse(await output("identify", target, "--json"))).toMatchObject({ sn: `  ${serial}` });
  });

  test("prints the firmware log without characters that a terminal obeys", async () => {
    expect(await output("fw-log", target)).toMatch(/^frs1 +: F\.c$/m);
  });

  test("can't colour the question whether to overwrite it", async () => {
    const args = ["nvme", "trim", target, "--blocks", "1"];
    const { stdout, status } = await onTerminal("n\n", cli.path, ...args);
    expect(status).toBe(1);
    expect(stdout).toContain("serial S\\x1b[31m\\x0a1\\x9b2\\x7f, at");
    expect(stdout).not.toContain(RED);
  });
});

test("a vfio-user server's message is one visible line on standard error", async () => {
  using cli = compileCli();
  const server = await RawServer.start();
  try {
    const json = `\0\0\x01\0{"a":"${RED}\r\n\u009b${OVERRIDE}`;
    await server.tell({ command: Command.version, payload: Buffer.from(json) });
    const { status, stdout, stderr } = await cli.run(["nvme", "list", `vfio-user:${server.path}`]);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toMatch(/^iova: .*invalid capabilities: .*\\x1b\[31m\\x0d\\x0a\\x9b\\u\{202e\}\n$/);
    expect(stderr).not.toMatch(UNSAFE);
  } finally {
    await server.close();
  }
});
