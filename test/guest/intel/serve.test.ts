/** The server that passes functions to users who may not open any. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { packageRoot } from "../../../guest/paths.js";
import { DeviceServer } from "../../../src/doors/pci.js";
import { PciDevice, type PciOpenOptions } from "../../../src/index.js";
import { Child, runChild } from "../../support/child.js";
import { Edu } from "../../support/edu.js";
import { eventually } from "../../support/eventually.js";
import { expectDma } from "../../support/expect-dma.js";
import { eduBdf, nvmeBdf, pairNvmeBdf, smallBarBdf } from "../../support/functions.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { bindForFile } from "../../support/igb-machine.js";
import { run } from "../../support/run.js";

const cli = join(packageRoot(), "dist", "lib", "cli.js");
const SOCKET = "/tmp/lending.sock";
const NOBODY = 65534;
const backends = ["iommufd", "type1"] as const;

bindForFile([eduBdf, nvmeBdf]);
expectNothingLeftSoon();

/** Does DMA both ways. */
async function uses(device: PciDevice): Promise<void> {
  const buffer = device.dma.alloc(4096);
  await expectDma(new Edu(device.io), buffer);
  buffer.close();
}

describe("iova serve", () => {
  let server: Child | undefined;
  afterEach(async () => {
    if (server === undefined) return;
    process.kill(server.pid, "SIGTERM");
    expect(await server.ended).toBe(0);
    expect(existsSync(SOCKET)).toBe(false);
    server = undefined;
  });

  async function serve(...args: string[]): Promise<Child> {
    server = new Child(cli, "serve", "--socket", SOCKET, ...args);
    await server.says("Ctrl-C");
    return server;
  }

  /** Runs a command as nobody, with no rights at all, in a mount namespace where neither /dev/vfio nor /dev/iommu exists. */
  const asStranger = (...args: string[]) =>
    run("unshare", [
      "--mount",
      "sh",
      "-c",
      'mount -t tmpfs none /dev && exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs "$@"',
      "sh",
      process.execPath,
      cli,
      ...args,
    ]);

  test.each(backends)("lets a user without rights read a disk through %s", async (backend) => {
    const bdf = nvmeBdf();
    const child = await serve("--user", String(NOBODY), bdf, eduBdf());
    const target = `served:${SOCKET}@${bdf}`;
    const identify = await asStranger("nvme", "identify", target, "--backend", backend);
    expect(identify).toMatchObject({ status: 0, stdout: expect.stringContaining("deadbeef"), stderr: "" });
    const read = await asStranger("nvme", "perf", target, "--backend", backend, "--time", "0.5");
    expect(read).toMatchObject({ status: 0, stdout: expect.stringContaining("IOPS") });
    expect(child.stdout).toContain(`${bdf} lent to process`);
    await eventually(() => (child.stdout.split("came back").length === 3 ? true : undefined));
    // Without the server there is no way.
    expect(await asStranger("nvme", "identify", bdf)).not.toMatchObject({ status: 0 });
  });

  test("refuses users whom it wasn't told, and functions that it wasn't given", async () => {
    const child = await serve("--user", "0", eduBdf());
    const refused = await asStranger("show", `served:${SOCKET}@${eduBdf()}`);
    expect(refused).toMatchObject({ status: 1, stderr: expect.stringContaining("EACCES") });
    const other = await runChild(cli, "nvme", "identify", `served:${SOCKET}@${nvmeBdf()}`);
    expect(await other.ended).toBe(1);
    expect(other.stderr).toContain("no rule of this server lends it to this user");
    expect(child.stdout).toContain(`refused process ${other.pid}`);
    const shown = await runChild(cli, "show", `served:${SOCKET}@${eduBdf()}`);
    expect(await shown.ended).toBe(0);
    expect(shown.stdout).toContain("1234:11e8");
  });

  test("lends each function to those whom --allow names for it", async () => {
    await serve("--allow", `${NOBODY}=${eduBdf()}`, "--allow", `%root=${nvmeBdf()}`);
    const allowed = await asStranger("show", `served:${SOCKET}@${eduBdf()}`);
    expect(allowed).toMatchObject({ status: 0, stdout: expect.stringContaining("1234:11e8") });
    const refused = await asStranger("nvme", "identify", `served:${SOCKET}@${nvmeBdf()}`);
    expect(refused).toMatchObject({ status: 1, stderr: expect.stringContaining("EACCES") });
    const member = await runChild(cli, "nvme", "identify", `served:${SOCKET}@${nvmeBdf()}`);
    expect(member.stdout).toContain("deadbeef");
  });

  test("lends a function to one client at a time, and again after a client was killed", async () => {
    await serve("--group", "root", eduBdf());
    const address = `served:${SOCKET}@${eduBdf()}`;
    const first = PciDevice.open(address, { addressBits: 28 });
    await uses(first);
    const second = await runChild(cli, "show", address);
    expect(second.stderr).toContain("is lent to process");
    first.close();
    const holder = new Child(cli, "repl", address);
    holder.endInput('print("open"); await new Promise(() => setInterval(() => {}, 1000));');
    await holder.says("open");
    holder.kill();
    await holder.ended;
    const again = await eventually(() => open(address));
    await uses(again);
    again.close();
  });

  async function open(
    address: string,
    options: PciOpenOptions = { addressBits: 28 },
  ): Promise<PciDevice | undefined> {
    try {
      return PciDevice.open(address, options);
    } catch (error) {
      if (error instanceof Error && /is lent|is open in/.test(error.message)) return undefined;
      throw error;
    }
  }

  test.each(backends)("lends a function that joins another's DMA space through %s", async (backend) => {
    await serve("--user", "0", eduBdf(), nvmeBdf());
    const first = PciDevice.open(`served:${SOCKET}@${nvmeBdf()}`, { backend, addressBits: 28 });
    const buffer = first.dma.alloc(4096);
    const second = PciDevice.open(`served:${SOCKET}@${eduBdf()}`, { dma: first.dma });
    expect(second.backend).toBe(backend);
    await expectDma(new Edu(second.io), buffer);
    buffer.close();
    second.close();
    // It has come back, and can be lent to others.
    const again = await eventually(() => open(`served:${SOCKET}@${eduBdf()}`));
    again.close();
    first.close();
  });

  describe("the second function of an IOMMU group", () => {
    const pairEduBdf = (): string => pairNvmeBdf().replace(/0$/, "1");
    bindForFile([pairNvmeBdf, pairEduBdf]);

    test.each(backends)(
      "goes to the process that has the first through %s, and to no other",
      async (backend) => {
        const child = await serve("--user", "0", pairNvmeBdf(), pairEduBdf());
        const edu = `served:${SOCKET}@${pairEduBdf()}`;
        const first = PciDevice.open(`served:${SOCKET}@${pairNvmeBdf()}`, { backend, addressBits: 28 });
        const buffer = first.dma.alloc(4096);
        const stranger = await runChild(cli, "show", edu);
        expect(stranger.stderr).toContain(
          `with ${pairNvmeBdf()}, which is lent to process ${process.pid}: only that process can have both`,
        );
        // Its own DMA space isn't one that the group is in.
        expect(() => PciDevice.open(edu)).toThrow(
          backend === "type1"
            ? "in another DMA space: open it with { dma }"
            : "open this one with { dma: first.dma }",
        );
        const wrong = backend === "type1" ? "iommufd" : "type1";
        expect(() => PciDevice.open(edu, { backend: wrong })).toThrow(
          `has for ${backend}: open it through that`,
        );
        for (let i = 0; i < 2; i++) {
          const second = await eventually(() => open(edu, { dma: first.dma }));
          expect(second.backend).toBe(backend);
          await expectDma(new Edu(second.io), buffer);
          expect(() => PciDevice.open(edu, { dma: first.dma })).toThrow(`is lent to process ${process.pid}`);
          second.close();
        }
        buffer.close();
        first.close();
        await eventually(() => (child.stdout.includes(`${pairNvmeBdf()} came back`) ? true : undefined));
        const again = await eventually(() => open(edu));
        await uses(again);
        again.close();
      },
    );
  });

  test("says what it lacks, and leaves no socket behind", async () => {
    const none = await runChild(cli, "serve", "--socket", SOCKET, eduBdf());
    expect(none.stderr).toContain("--user or --group");
    const absent = await runChild(cli, "serve", "--socket", SOCKET, "--user", "0", "0000:00:1b.7");
    expect(absent.stderr).toContain("there is no PCI device");
    const nobody = await runChild(cli, "serve", "--socket", SOCKET, "--user", "no such user", eduBdf());
    expect(nobody.stderr).toContain("there is no user");
    for (const [text, what] of [
      ["alice", "expected USER=BDF"],
      [`=${eduBdf()}`, "expected USER=BDF"],
      [`%no such group=${eduBdf()}`, "there is no group"],
      ["0=0000:00:1b.7", "there is no PCI device"],
    ] as const) {
      const wrong = await runChild(cli, "serve", "--socket", SOCKET, "--allow", text);
      expect(wrong.stderr).toContain(what);
    }
    expect(existsSync(SOCKET)).toBe(false);
  });

  test.each([
    ["the kernel's driver has", pairNvmeBdf, "the kernel's driver nvme has it"],
    ["no driver has", smallBarBdf, "no driver has it"],
  ])("refuses a function at once that %s", async (_, bdf, who) => {
    const refused = await runChild(cli, "serve", "--socket", SOCKET, "--user", "0", eduBdf(), bdf());
    expect(await refused.ended).toBe(1);
    expect(refused.stderr).toContain(
      `${bdf()} can't be lent: ${who}. Bind it to vfio-pci first: iova bind ${bdf()}`,
    );
    expect(existsSync(SOCKET)).toBe(false);
  });
});

test("a DeviceServer tells what is lent, and ends with what it lent still usable", async () => {
  const events: string[] = [];
  const rules = [{ devices: [eduBdf()], uids: [0] }];
  const server = new DeviceServer(SOCKET, { rules, onEvent: ({ kind }) => events.push(kind) });
  const client = new Child(cli, "repl", `served:${SOCKET}@${eduBdf()}`);
  const [lent] = await eventually(() => (server.lent.length > 0 ? server.lent : undefined));
  expect(lent).toEqual({ bdf: eduBdf(), backend: "iommufd", pid: client.pid, uid: 0 });
  server.close();
  client.endInput("print(device.bar(0).read32(0).toString(16));");
  expect(await client.ended).toBe(0);
  expect(client.stdout).toContain("10000ed");
  expect(events).toEqual(["lent", "returned"]);
});
