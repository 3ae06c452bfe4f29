/** `iova doctor` as a process, and the text of its report. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { painted, showsColours } from "../../../src/cli/colour.js";
import { reportLines } from "../../../src/cli/host/doctor.js";
import { quoted } from "../../../src/cli/host/doctor-lines.js";
import { doctor } from "../../../src/doors/host.js";
import { arch, debian } from "../../support/example-hosts.js";
import { hostTree, type TreeFiles } from "../../support/host-tree.js";
import { compileCli, type IovaCli } from "../../support/iova-cli.js";

function text(files: TreeFiles, device: string, isVerbose = false): string {
  using tree = hostTree(files);
  const report = doctor({ devices: [device], root: tree.root.path });
  return reportLines(report, isVerbose)
    .map((line) => painted(line, false))
    .join("\n");
}

describe("the report's text", () => {
  test("has a row for each check, and ends with the verdict", () => {
    const lines = text(debian, "0000:00:03.0").split("\n");
    expect(lines[0]).toBe("Debian GNU/Linux 13 (trixie), Linux 6.12.48+deb13-amd64, for the user root");
    expect(lines).toContainEqual(expect.stringMatching(/^ok {7}IOMMU +on: 1 units/));
    expect(lines.at(-1)).toBe("0000:00:03.0 can be used now by root, through type1");
  });

  test("has commands for a shell below the table", () => {
    const shown = text(arch, "0000:02:00.0");
    expect(shown).toContain("    sudo npx iova bind 0000:02:00.0");
    expect(shown).toContain("    sudo tee /etc/modules-load.d/iova-vfio-pci.conf <<'EOF'\nvfio-pci\nEOF");
    expect(shown).toContain("0000:02:00.0 can't be used now by root");
    expect(shown).not.toContain("[iommu.on]");
  });

  test("says where facts are from if it is verbose", () => {
    const shown = text(arch, "0000:02:00.0", true);
    expect(shown).toContain("problem: IOMMU [iommu.on]");
    expect(shown).toContain("from /proc/cmdline");
    expect(shown).toMatch(/^- {8}Interrupt remapping/m);
  });

  test("can't be coloured or moved by what a host's files hold", () => {
    const evil = { ...debian, "/etc/os-release": "ID=debian\nPRETTY_NAME='\u001b[31mred\u202e'\n" };
    const shown = text(evil, "0000:00:03.0");
    expect(shown).toContain("\\x1b[31mred\\u{202e}");
    expect(shown).not.toContain("\u001b");
  });
});

test("colours are for terminals, unless NO_COLOR or TERM says otherwise", () => {
  expect(showsColours({ isTTY: true }, {})).toBe(true);
  expect(showsColours({ isTTY: true }, { NO_COLOR: "1" })).toBe(false);
  expect(showsColours({ isTTY: true }, { TERM: "dumb" })).toBe(false);
  expect(showsColours({}, {})).toBe(false);
  expect(painted(["a ", { text: "b\u001b", colour: "red" }], true)).toBe("a \u001b[31mb\\x1b\u001b[0m");
});

test("words are quoted for a shell only where it needs that", () => {
  expect(quoted("--args=a_b=on")).toBe("--args=a_b=on");
  expect(quoted("it's $5")).toBe("'it'\\''s $5'");
});

describe("the command", () => {
  let cli: IovaCli;
  beforeAll(() => {
    cli = compileCli();
  });
  afterAll(() => cli[Symbol.dispose]());

  test("prints a report of this host, with status 0 only if a device can be used", async () => {
    const { status, stdout, stderr } = await cli.run(["doctor", "--json"]);
    const report: unknown = JSON.parse(stdout);
    expect(stderr).toBe("");
    expect(report).toMatchObject({ user: expect.any(String), checks: expect.any(Array) });
    const usable = typeof report === "object" && report !== null && "usable" in report && report.usable;
    expect(status).toBe(usable === true ? 0 : 1);
    const plain = await cli.run(["doctor"]);
    expect(plain.stdout).toMatch(/Node\.js {2,}Node\.js \d+/);
    expect(plain.stdout).not.toContain("\u001b");
  });

  test("reports what is wrong with its arguments", async () => {
    expect(await cli.run(["doctor", "0000:ff:1f.7"])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("there is no PCI device 0000:ff:1f.7"),
    });
    expect(await cli.run(["doctor", "--user", "nobody-of-this-name"])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining("there is no user"),
    });
    expect(await cli.run(["doctor", "--fast"])).toMatchObject({ status: 2 });
    expect((await cli.run(["doctor", "--help"])).stdout).toContain("Usage: iova doctor");
  });
});
