/** The guest machine: QEMU's arguments, the initramfs, the output and the command that runs. */
import { execFileSync } from "node:child_process";
import { Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import { commandScript, freshFolders, guestEnvironment } from "../../guest/command.js";
import { writeArchive } from "../../guest/initramfs.js";
import { MarkSplitter, relay } from "../../guest/output.js";
import { type Machine, qemuArguments } from "../../guest/qemu.js";

const machine: Machine = {
  kernel: "/k/bzImage",
  initrd: "/r/initrd",
  append: ["quiet", "panic=-1"],
  memory: "3G",
  cpus: 2,
  kvm: false,
  shareDir: "/a,b",
  ports: { control: "/r/control", stdout: "/r/stdout", stderr: "/r/stderr" },
  nvmeImage: "/r/nvme.img",
  qemuArgs: ["-device", "e1000e"],
  trace: ["pci_nvme_*"],
  qemuLog: "/r/qemu.log",
};

describe("qemuArguments()", () => {
  test("puts the IOMMU before every device that it serves", () => {
    const args = qemuArguments(machine);
    const devices = args.filter((_, index) => args[index - 1] === "-device");
    expect(devices[0]).toMatch(/^intel-iommu,/);
    expect(devices).toContain("e1000e");
  });

  test("doubles the commas in a path", () => {
    expect(qemuArguments(machine).join(" ")).toContain("path=/a,,b,");
  });

  test("adds only the tool's own devices if there are no default devices", () => {
    const args = qemuArguments({ ...machine, nvmeImage: undefined, qemuArgs: [] });
    const devices = args.filter((_, index) => args[index - 1] === "-device");
    expect(devices.every((device) => device.startsWith("virt"))).toBe(true);
  });
});

describe("writeArchive()", () => {
  test("writes a newc archive that is aligned to four bytes and ends with a trailer", () => {
    const archive = writeArchive([
      { path: "bin", mode: 0o755 },
      { path: "bin/x", mode: 0o755, content: Buffer.from("hello") },
    ]);
    const names: string[] = [];
    for (let at = 0; at < archive.length; ) {
      expect(archive.toString("latin1", at, at + 6)).toBe("070701");
      const field = (index: number): number =>
        Number.parseInt(archive.toString("latin1", at + 6 + index * 8, at + 14 + index * 8), 16);
      const [size, nameSize] = [field(6), field(11)];
      names.push(archive.toString("latin1", at + 110, at + 109 + nameSize));
      const content = at + Math.ceil((110 + nameSize) / 4) * 4;
      if (size > 0) expect(archive.toString("latin1", content, content + size)).toBe("hello");
      at = content + Math.ceil(size / 4) * 4;
    }
    expect(names).toEqual(["bin", "bin/x", "TRAILER!!!"]);
  });
});

describe("the end mark of an output", () => {
  test("is found however the output is split into chunks, and no other byte is lost", () => {
    const text = "one <EN two <END";
    const stream = `${text}<END>after`;
    for (let size = 1; size <= stream.length; size++) {
      const splitter = new MarkSplitter("<END>");
      let out = "";
      for (let at = 0; at < stream.length; at += size) {
        out += splitter.push(Buffer.from(stream.slice(at, at + size))).toString();
      }
      expect(out).toBe(text);
      expect(splitter.found).toBe(true);
    }
  });

  test("distinguishes a complete output from a truncated one, and both are passed on", async () => {
    let out = "";
    const pass = async (chunk: Buffer): Promise<void> => {
      out += chunk.toString();
    };
    expect(await relay(Readable.from([Buffer.from("all<END>")]), "<END>", pass)).toBe(true);
    expect(await relay(Readable.from([Buffer.from(" part<E")]), "<END>", pass)).toBe(false);
    expect(out).toBe("all part<E");
  });
});

describe("a command in the guest", () => {
  test("receives its arguments unchanged, even with characters that are special in a shell", () => {
    const words = ["it's", '$HOME `x` "y"', "", "a\nb", "*"];
    const script = commandScript("/", { A: "1" }, "/usr/bin/printf", ["%s|", ...words]).replace(
      "exec /run/iova-guest/busybox env",
      "exec env",
    );
    expect(execFileSync("sh", ["-c", script]).toString()).toBe(`${words.join("|")}|`);
  });

  test("receives only the variables of the caller's environment that concern it", () => {
    const caller = {
      PATH: "/bin",
      IOVA_X: "1",
      VITEST_POOL: "2",
      CI: "true",
      npm_config_x: "3",
      SECRET: "4",
    };
    expect(guestEnvironment(caller, { EXTRA: "5" })).toEqual({
      PATH: "/bin",
      IOVA_X: "1",
      VITEST_POOL: "2",
      CI: "true",
      EXTRA: "5",
      TERM: "dumb",
      HOME: "/root",
      IOVA_GUEST: "1",
      IOVA_GUEST_SHARE: "/mnt/share",
    });
  });

  test("has an empty /tmp unless the checkout lies in it", () => {
    expect(freshFolders(["/work"])).toContain("/tmp");
    expect(freshFolders(["/tmp/checkout"])).not.toContain("/tmp");
  });
});
