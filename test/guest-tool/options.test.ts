/** The guest tool's command line options. */
import { describe, expect, test } from "vitest";
import { parseOptions, UsageError } from "../../guest/options.js";

describe("parseOptions()", () => {
  test("accepts QEMU's own options as values, one at a time or several together", () => {
    const { qemuArgs, command } = parseOptions([
      "--qemu-arg",
      "-device",
      "--qemu-arg",
      "e1000e,bus=rp",
      "--qemu-arg",
      "-device pcie-root-port,id=rp",
      "--",
      "ls",
      "--",
      "-l",
    ]);
    expect(qemuArgs).toEqual(["-device", "e1000e,bus=rp", "-device", "pcie-root-port,id=rp"]);
    expect(command).toEqual(["ls", "--", "-l"]);
  });

  test("returns defaults if no option is given", () => {
    expect(parseOptions(["--", "true"])).toMatchObject({
      mode: "run",
      command: ["true"],
      memory: "3G",
      cpus: 2,
      defaultDevices: true,
      console: false,
    });
  });

  test.each([
    { args: ["--bogus", "--", "true"], says: "--bogus" },
    { args: ["true"], says: "after a --" },
    { args: [], says: "no COMMAND" },
    { args: ["--"], says: "no COMMAND" },
    { args: ["--cpus", "two", "--", "true"], says: "--cpus two" },
    { args: ["--cpus", "17", "--", "true"], says: "1 to 16" },
    { args: ["--memory", "3", "--", "true"], says: "--memory 3" },
    { args: ["--timeout", "0", "--", "true"], says: "--timeout 0" },
    { args: ["--series", "newest", "--", "true"], says: "--series newest" },
    { args: ["--variant", "tiny", "--", "true"], says: "--variant tiny" },
    { args: ["--trace", "pci_nvme_*", "--", "true"], says: "--qemu-log" },
    { args: ["--memory"], says: "--memory" },
  ])("rejects $args with a message of one line", ({ args, says }) => {
    const attempt = (): unknown => parseOptions(args);
    expect(attempt).toThrow(UsageError);
    expect(attempt).toThrow(says);
    expect(attempt).not.toThrow(/\n/);
  });
});
