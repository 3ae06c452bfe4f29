/** Virtual functions: created, listed, opened and removed, with a physical function of the kernel's driver and of vfio-pci. */

import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { runList } from "../../../src/cli/list.js";
import { runShow } from "../../../src/cli/show.js";
import { runSriov } from "../../../src/cli/sriov.js";
import { runVfs } from "../../../src/cli/vfs.js";
import { createVirtualFunctions, removeVirtualFunctions, VirtualFunctions } from "../../../src/doors/pci.js";
import {
  ArgumentError,
  BindError,
  BusyError,
  bindToVfio,
  ClosedError,
  DeviceGoneError,
  PciDevice,
  PciRegister,
  readPciFunction,
  SysError,
  UnsupportedError,
  unbindFromVfio,
  type VfioBinding,
} from "../../../src/index.js";
import { driverOf } from "../../../src/pci/sysfs.js";
import { caught } from "../../support/caught.js";
import { Child } from "../../support/child.js";
import { eduBdf, sriovNvmeBdf } from "../../support/functions.js";
import { guestProgram } from "../../support/guest-programs.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { backends } from "../../support/nvme-machine.js";
import { provoke } from "../../support/provoke.js";
import { said } from "../../support/said.js";
import { disableVirtualFunctions } from "../../support/sriov-control.js";
import { asUnprivileged } from "../../support/unprivileged.js";

const ENABLE_SRIOV = "/sys/module/vfio_pci/parameters/enable_sriov";
const NVME = 0x010802;
const attribute = (name: string): string => `/sys/bus/pci/devices/${sriovNvmeBdf()}/${name}`;
const attributeOf = (name: string): string => readFileSync(attribute(name), "utf8").trim();

expectNothingLeftSoon();
afterEach(async () => {
  expect(await removeVirtualFunctions(sriovNvmeBdf())).toEqual([]);
  expect(attributeOf("sriov_drivers_autoprobe")).toBe("1");
});

describe("virtual functions of a function that the kernel's driver has", () => {
  beforeEach(() => expect(driverOf(sriovNvmeBdf())).toBe("nvme"));

  /** The kernel's driver is offered controllers that are still offline. */
  const offline = "pci_nvme_err_ignored_mmio_vf_offline";

  test("are created, tell their physical function, and go with close()", async () => {
    provoke(offline);
    const pf = sriovNvmeBdf();
    expect(readPciFunction(pf)).toMatchObject({
      physicalFunction: undefined,
      maxVirtualFunctions: 2,
      virtualFunctions: [],
    });
    let addresses: readonly string[];
    {
      await using functions = await createVirtualFunctions(pf.slice("0000:".length), 2);
      expect(functions).toBeInstanceOf(VirtualFunctions);
      expect(functions.physicalFunction).toBe(pf);
      ({ addresses } = functions);
      expect(addresses).toHaveLength(2);
      expect(readPciFunction(pf).virtualFunctions).toEqual(addresses);
      for (const vf of addresses) {
        expect(readPciFunction(vf)).toMatchObject({
          physicalFunction: pf,
          maxVirtualFunctions: 0,
          virtualFunctions: [],
          classCode: NVME,
        });
      }
    }
    expect(readPciFunction(pf).virtualFunctions).toEqual([]);
    for (const vf of addresses) expect(() => readPciFunction(vf)).toThrow(ArgumentError);
  });

  test("go with close() without await, too, and a second close() does nothing", async () => {
    const functions = await createVirtualFunctions(sriovNvmeBdf(), 1);
    functions.close();
    expect(attributeOf("sriov_numvfs")).toBe("0");
    functions.close();
    await functions.closeAsync();
  });

  test.each(backends)(
    "are bound to vfio-pci on request, and open without a token through %s",
    async (backend) => {
      const pf = sriovNvmeBdf();
      await using functions = await createVirtualFunctions(pf, 2, { driver: "vfio-pci" });
      const [first = "", second = ""] = functions.addresses;
      expect([driverOf(pf), driverOf(first), driverOf(second)]).toEqual(["nvme", "vfio-pci", "vfio-pci"]);
      expect(attributeOf("sriov_drivers_autoprobe")).toBe("1");
      const device = PciDevice.open(first, { backend });
      expect(device.function).toMatchObject({ bdf: first, classCode: NVME, physicalFunction: pf });
      expect(device.vfToken).toBeUndefined();

      // In use by this process.
      const here = `the virtual functions of ${pf} can't be removed: ${first} is open in process ${process.pid} (`;
      for (const remove of [
        () => functions.close(),
        () => functions.closeAsync(),
        () => removeVirtualFunctions(pf),
      ]) {
        const error = await caught(remove);
        expect(error).toBeInstanceOf(BusyError);
        expect(error.message).toContain(here);
        expect(functions.closed).toBe(false);
        expect(readPciFunction(pf).virtualFunctions).toEqual(functions.addresses);
      }
      device.close();
    },
  );

  test("aren't removed while another process has one open: the error names both", async () => {
    const pf = sriovNvmeBdf();
    await using functions = await createVirtualFunctions(pf, 2, { driver: "vfio-pci" });
    const [, second = ""] = functions.addresses;
    const child = new Child(guestProgram("device-holder"), second);
    try {
      await child.says("open");
      const error = await caught(functions.closeAsync());
      expect(error).toBeInstanceOf(BusyError);
      expect(error.message).toContain(`${second} is open in process ${child.pid} (`);
      expect(attributeOf("sriov_numvfs")).toBe("2");
      const listed = JSON.parse(await said(() => runVfs([second, "--json"])));
      expect(listed).toMatchObject({
        bdf: pf,
        virtualFunctions: [
          { bdf: functions.addresses[0], openIn: [] },
          { bdf: second, openIn: [{ pid: child.pid }] },
        ],
      });
    } finally {
      child.kill();
      await child.ended;
    }
  });

  test("can't become more or fewer: that is a BusyError, where the kernel says EBUSY", async () => {
    const pf = sriovNvmeBdf();
    await using functions = await createVirtualFunctions(pf, 1, { driver: "vfio-pci" });
    for (const count of [1, 2]) {
      const error = await caught(createVirtualFunctions(pf, count));
      expect(error).toBeInstanceOf(BusyError);
      expect(error.message).toBe(
        `${pf} has 1 virtual functions already (${functions.addresses.join()}), and their number can't be changed: ` +
          `remove them first (npx iova sriov ${pf} 0)`,
      );
    }
    expect(() => writeFileSync(attribute("sriov_numvfs"), "2")).toThrow("EBUSY");
    expect(() => bindToVfio(pf)).toThrow(`npx iova sriov ${pf} 0`);
    expect(driverOf(pf)).toBe("nvme");
    expect(await removeVirtualFunctions(pf)).toEqual(functions.addresses);
    // Those of another program aren't this object's.
    await using others = await createVirtualFunctions(pf, 2, { driver: "vfio-pci" });
    functions.close();
    expect(readPciFunction(pf).virtualFunctions).toEqual(others.addresses);
  });

  test("are removed again if a later step fails, and the error is that step's", async () => {
    const folder = mkdtempSync(join(tmpdir(), "iova-cat-"));
    // Writes everything but the override of a virtual function's driver.
    const script = `#!/bin/sh\ntext=$(/bin/cat)\n[ "$text" = vfio-pci ] && { echo "cat: No such device" >&2; exit 1; }\necho "$text"\n`;
    writeFileSync(join(folder, "cat"), script, { mode: 0o755 });
    vi.stubEnv("PATH", `${folder}:${process.env["PATH"]}`);
    try {
      const error = await caught(createVirtualFunctions(sriovNvmeBdf(), 2, { driver: "vfio-pci" }));
      expect(error).toBeInstanceOf(BindError);
      expect(error.message).toMatch(/driver_override: ENODEV$/);
    } finally {
      vi.unstubAllEnvs();
      rmSync(folder, { recursive: true });
    }
    expect(readPciFunction(sriovNvmeBdf()).virtualFunctions).toEqual([]);
  });

  test("aren't created from wrong arguments, by functions without SR-IOV, and by virtual functions", async () => {
    const pf = sriovNvmeBdf();
    for (const count of [0, 3, -1, 1.5]) {
      const error = await caught(createVirtualFunctions(pf, count));
      expect(error).toBeInstanceOf(ArgumentError);
      expect(error.message).toContain("count");
    }
    expect(await caught(createVirtualFunctions("nonsense", 1))).toBeInstanceOf(ArgumentError);
    expect(await caught(createVirtualFunctions("0000:00:1b.7", 1))).toBeInstanceOf(ArgumentError);
    const foreign: object = { driver: "nvme" };
    expect(await caught(createVirtualFunctions(pf, 1, foreign))).toBeInstanceOf(ArgumentError);
    expect(await caught(createVirtualFunctions(pf, 1, { timeoutMs: 0 }))).toBeInstanceOf(ArgumentError);
    for (const ask of [() => createVirtualFunctions(eduBdf(), 1), () => removeVirtualFunctions(eduBdf())]) {
      const error = await caught(ask);
      expect(error).toBeInstanceOf(UnsupportedError);
      expect(error.message).toContain("SR-IOV");
    }
    expect(await removeVirtualFunctions(pf)).toEqual([]);
    await using functions = await createVirtualFunctions(pf, 1);
    const error = await caught(createVirtualFunctions(functions.addresses[0] ?? "", 1));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(error.message).toContain(`ask its physical function, ${pf}`);
  });

  test("need root", async () => {
    let created: Promise<unknown> = Promise.resolve();
    asUnprivileged({}, () => {
      created = caught(createVirtualFunctions(sriovNvmeBdf(), 1));
    });
    const error = await created;
    expect(error).toBeInstanceOf(SysError);
    expect(error).toMatchObject({ code: "EACCES", message: expect.stringContaining("needs root") });
  });
});

describe("virtual functions of a function that vfio-pci has", () => {
  let enabled = "";
  let binding: VfioBinding;
  beforeAll(() => {
    enabled = readFileSync(ENABLE_SRIOV, "utf8").trim();
    binding = bindToVfio(sriovNvmeBdf());
  });
  beforeEach(() => writeFileSync(ENABLE_SRIOV, "Y"));
  afterAll(() => {
    binding.close();
    writeFileSync(ENABLE_SRIOV, enabled);
  });

  test("need enable_sriov: the error says where it is", async () => {
    writeFileSync(ENABLE_SRIOV, "N");
    const error = await caught(createVirtualFunctions(sriovNvmeBdf(), 1));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(error.message).toContain(`write Y to ${ENABLE_SRIOV}`);
  });

  test.each(backends)("open with their physical function's token in one call through %s", async (backend) => {
    using pf = PciDevice.open(sriovNvmeBdf(), { backend });
    expect(pf.vfToken).toBeUndefined();
    const functions = await pf.createVirtualFunctions(2);
    const token = pf.vfToken;
    expect(token).toMatch(/^[0-9a-f-]{36}$/);
    const [first = ""] = functions.addresses;
    expect(driverOf(first)).toBe("vfio-pci");
    const vf = pf.openVirtualFunction(0, { backend });
    expect(vf.bdf).toBe(first);
    expect(vf.backend).toBe(backend);
    expect(vf.function.physicalFunction).toBe(pf.bdf);
    expect(vf.config.read32(PciRegister.revision) >>> 8).toBe(NVME);

    // Not with another token, nor without one; with this one from anywhere.
    vf.close();
    for (const vfToken of [undefined, randomUUID()]) {
      const error = await caught(() => PciDevice.open(first, { backend, vfToken }));
      expect(error).toMatchObject({ code: "EACCES", message: expect.stringContaining("vfToken") });
    }
    PciDevice.open(first, { backend, vfToken: token }).close();
    expect(() => pf.openVirtualFunction(2)).toThrow(`${pf.bdf} has no virtual function 2: it has 2`);
    expect(() => pf.openVirtualFunction(-1)).toThrow(ArgumentError);

    // Closing the physical function closes what was opened through it, and removes them.
    const again = pf.openVirtualFunction(1, { backend });
    const beside = pf.openVirtualFunction(0, { dma: pf.dma });
    expect(() => functions.close()).toThrow(BusyError);
    await pf.closeAsync();
    expect([again.closed, beside.closed, functions.closed]).toEqual([true, true, true]);
    expect(readPciFunction(sriovNvmeBdf()).virtualFunctions).toEqual([]);
    expect(await caught(pf.createVirtualFunctions(1))).toBeInstanceOf(ClosedError);
  });

  test("keep their physical function open while somebody else has one", async () => {
    const vfToken = randomUUID();
    using pf = PciDevice.open(sriovNvmeBdf(), { vfToken });
    expect(pf.vfToken).toBe(vfToken);
    await using functions = await pf.createVirtualFunctions(1);
    const [address = ""] = functions.addresses;
    using own = PciDevice.open(address, { vfToken });
    const inUse = `${address} is open in process ${process.pid} (`;
    expect(() => pf.close()).toThrow(inUse);
    expect(await caught(pf.closeAsync())).toMatchObject({ message: expect.stringContaining(inUse) });
    expect([pf.closed, functions.closed, own.closed]).toEqual([false, false, false]);
    // Unbinding the physical function would remove it, too.
    expect(() => unbindFromVfio(pf.bdf)).toThrow(BusyError);
  });

  test("prevent that their physical function is unbound while they are open", async () => {
    const vfToken = randomUUID();
    PciDevice.open(sriovNvmeBdf(), { vfToken }).close();
    await using functions = await createVirtualFunctions(sriovNvmeBdf(), 1);
    const [address = ""] = functions.addresses;
    using _vf = PciDevice.open(address, { vfToken });
    const message = `its virtual function ${address} is open in process ${process.pid} (`;
    expect(() => unbindFromVfio(sriovNvmeBdf())).toThrow(message);
    expect(() => binding.close()).toThrow(message);
    expect(driverOf(sriovNvmeBdf())).toBe("vfio-pci");
  });

  test("that a reset of their physical function has disabled can't be opened, and the error says so", async () => {
    await using _functions = await createVirtualFunctions(sriovNvmeBdf(), 1);
    using pf = PciDevice.open(sriovNvmeBdf());
    // After the reset at open(), the kernel has enabled them again.
    using _disabled = disableVirtualFunctions(pf.bdf);
    const error = await caught(() => pf.openVirtualFunction(0));
    expect(error).toBeInstanceOf(DeviceGoneError);
    expect(error.message).toContain(`a reset of its physical function ${pf.bdf}`);
  });

  test("belong to functions with SR-IOV only", async () => {
    using edu = bindToVfio(eduBdf());
    using device = PciDevice.open(edu.bdf);
    expect(await caught(device.createVirtualFunctions(1))).toBeInstanceOf(UnsupportedError);
    expect(() => device.openVirtualFunction(0)).toThrow("has no virtual function 0: it has 0");
  });
});

describe("iova sriov and iova vfs", () => {
  test("create, list and remove virtual functions; iova list and show tell the relation", async () => {
    const pf = sriovNvmeBdf();
    expect(await said(() => runVfs([pf]))).toMatch(/nvme, 0 of 2 virtual functions\n$/);
    await said(() => runSriov([pf, "2", "--driver", "vfio-pci"]));
    const made = await said(() => runVfs([pf]));
    const { virtualFunctions } = readPciFunction(pf);
    const [first = "", second = ""] = virtualFunctions;
    expect(made).toContain("nvme, 2 of 2 virtual functions\n");
    for (const vf of [first, second])
      expect(made).toMatch(new RegExp(`^${vf}  .*vfio-pci, virtual function of ${pf}$`, "m"));
    // The same of a virtual function.
    expect(await said(() => runVfs([first]))).toBe(made);
    expect(await said(() => runList([]))).toContain(`vfio-pci, virtual function of ${pf}\n`);
    expect(await said(() => runShow([first]))).toContain(`, virtual function of ${pf}\n`);
    expect(JSON.parse(await said(() => runShow([pf, "--json"])))).toMatchObject({
      maxVirtualFunctions: 2,
      virtualFunctions,
    });
    for (const _again of [1, 2])
      expect(await said(() => runSriov([pf, "0"]))).toBe(`${pf} has 0 of 2 virtual functions\n`);
    expect(await said(() => runVfs([pf]))).toMatch(/0 of 2 virtual functions\n$/);
    expect(await said(() => runVfs([eduBdf()]))).not.toContain("virtual");
  });
});
