/** Why a PCI device can't be opened: address, driver, group, kernel or permission. */
import { chmodSync, renameSync, statSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  ArgumentError,
  type BackendName,
  bindToVfio,
  NvmeController,
  PciDevice,
  readPciFunction,
  SysError,
  UnsupportedError,
  type VfioBinding,
} from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { runChild } from "../../support/child.js";
import { eduBdf, nvmeBdf, pairNvmeBdf } from "../../support/functions.js";
import { guestProgram } from "../../support/guest-programs.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { backends, bindGroup, groupMembers } from "../../support/nvme-machine.js";

const PAGE = 4096;
const ABSENT = "0000:00:1b.7";

expectNothingLeftSoon();

const IOMMUFD = "/dev/iommu";
const CONTAINER = "/dev/vfio/vfio";

/** Takes device nodes away, as on a kernel without them. */
async function without(nodes: readonly string[], body: () => Promise<void>): Promise<void> {
  const away = (node: string): string => `${node}.away`;
  const moved: string[] = [];
  try {
    for (const node of nodes) {
      renameSync(node, away(node));
      moved.push(node);
    }
    await body();
  } finally {
    for (const node of moved) renameSync(away(node), node);
  }
}

describe("a PCI address", () => {
  test.each([
    ["that no function has", ABSENT, `there is no PCI device ${ABSENT}`],
    ["that no function has, written without its domain", "00:1b.7", `there is no PCI device ${ABSENT}`],
    ["that lacks the function", "0000:00:01", '"0000:00:01" is no PCI address: give one like 0000:00:03.0'],
    ["that is no PCI address", "/dev/nvme0", '"/dev/nvme0" is no PCI address'],
    ["that is empty", "", '"" is no PCI address'],
  ])("is rejected if it is one %s", async (_, address, message) => {
    for (const backend of [undefined, ...backends]) {
      const error = await caught(NvmeController.open(address, { backend }));
      expect(error).toBeInstanceOf(ArgumentError);
      expect(error.message).toContain(message);
    }
  });
});

describe("PciDevice.open() of a function that is not bound to vfio-pci", () => {
  test.each([
    ["the kernel's driver has", nvmeBdf],
    ["no driver has", eduBdf],
  ])("is refused if %s", async (_, bdf) => {
    const { driver } = readPciFunction(bdf());
    const throughIommufd = await caught(NvmeController.open(bdf(), { backend: "iommufd" }));
    expect(throughIommufd).toBeInstanceOf(UnsupportedError);
    expect(throughIommufd.message).toContain(`${bdf()} has no VFIO character device`);
    expect(throughIommufd.message).toContain("vfio-pci");

    const throughType1 = await caught(NvmeController.open(bdf(), { backend: "type1" }));
    expect(throughType1).toBeInstanceOf(SysError);
    const group = `/dev/vfio/${readPciFunction(bdf()).iommuGroup}`;
    expect(throughType1).toMatchObject({ syscall: "open", code: "ENOENT", object: group });
    expect(throughType1.message).toContain("none of its devices is bound to vfio-pci");

    const throughAny = await caught(NvmeController.open(bdf()));
    expect(throughAny).toBeInstanceOf(UnsupportedError);
    expect(throughAny.message).toBe(
      `${bdf()} can't be opened through any backend. ` +
        `iommufd: ${throughIommufd.message}; type1: ${throughType1.message}`,
    );
    expect(throughAny.cause).toMatchObject({ errors: [{ name: "UnsupportedError" }, { name: "SysError" }] });
    expect(readPciFunction(bdf()).driver).toBe(driver);
  });
});

describe("a group with a function that a kernel driver has", () => {
  test("is not viable; the message names that function, and without it the group works", async () => {
    const members = groupMembers(pairNvmeBdf());
    expect(members.length).toBeGreaterThan(1);
    // One of them for us, the controller still the kernel's.
    const [ours = ""] = members.filter((member) => member !== pairNvmeBdf());
    expect(readPciFunction(pairNvmeBdf()).driver).toBe("nvme");
    using _binding = bindToVfio(ours);

    const throughType1 = await caught(() => PciDevice.open(ours, { backend: "type1" }));
    expect(throughType1).toBeInstanceOf(UnsupportedError);
    expect(throughType1.message).toBe(
      `IOMMU group ${readPciFunction(ours).iommuGroup} is not viable: all its devices must be bound to vfio-pci ` +
        `or to no driver; in the way: ${pairNvmeBdf()} (driver nvme)`,
    );
    const throughIommufd = await caught(() => PciDevice.open(ours, { backend: "iommufd" }));
    expect(throughIommufd).toBeInstanceOf(SysError);
    expect(throughIommufd).toMatchObject({ syscall: "VFIO_DEVICE_BIND_IOMMUFD", code: "EPERM" });
    expect(throughIommufd.message).toContain("its IOMMU group has another owner");
    const throughAny = await caught(() => PciDevice.open(ours));
    expect(throughAny.message).toContain(throughType1.message);
    expect(throughAny.message).toContain(throughIommufd.message);

    const all = bindGroup(pairNvmeBdf());
    try {
      for (const backend of backends) {
        PciDevice.open(ours, { backend }).close();
        await using nvme = await NvmeController.open(pairNvmeBdf(), { backend });
        expect(await nvme.namespaceIds()).toEqual([1]);
      }
    } finally {
      all.close();
    }
  });
});

describe("the second function of a group that is open", () => {
  test("opens in the first one's DMA space, and the error of iommufd says so", async () => {
    const all = bindGroup(pairNvmeBdf());
    try {
      const [other = ""] = groupMembers(pairNvmeBdf()).filter((member) => member !== pairNvmeBdf());
      // It has no driver, so binding the group leaves it.
      using _other = bindToVfio(other);
      using first = PciDevice.open(pairNvmeBdf(), { backend: "iommufd" });
      const error = await caught(() => PciDevice.open(other, { backend: "iommufd" }));
      expect(error).toMatchObject({ syscall: "VFIO_DEVICE_BIND_IOMMUFD", code: "EPERM" });
      expect(error.message).toContain("open this one with { dma: first.dma } of that");
      using second = PciDevice.open(other, { dma: first.dma });
      expect(second.backend).toBe("iommufd");
    } finally {
      all.close();
    }
  });
});

describe("a host without /dev/iommu or /dev/vfio/vfio", () => {
  let binding: VfioBinding;
  beforeAll(() => {
    binding = bindToVfio(nvmeBdf());
  });
  afterAll(() => binding.close());

  async function use(backend: BackendName | undefined): Promise<NvmeController> {
    const nvme = await NvmeController.open(nvmeBdf(), { backend });
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(PAGE);
    await ns.read(0n, buffer);
    return nvme;
  }

  test("uses iommufd if both are there", async () => {
    await using nvme = await use(undefined);
    expect(nvme.backend).toBe("iommufd");
    expect(nvme.backendReason).toBe("iommufd works and comes first");
  });

  test("uses type1 without /dev/iommu, and says why", async () => {
    await without([IOMMUFD], async () => {
      const reason =
        "open on /dev/iommu: ENOENT (this kernel has no iommufd: load the module iommufd, or use a kernel with CONFIG_IOMMUFD)";
      const asked = await caught(use("iommufd"));
      expect(asked).toMatchObject({ name: "SysError", code: "ENOENT", object: IOMMUFD, message: reason });
      await using nvme = await use(undefined);
      expect(nvme.backend).toBe("type1");
      expect(nvme.device.backend).toBe("type1");
      expect(nvme.dma.backend).toBe("type1");
      expect(nvme.backendReason).toBe(`iommufd can't be used: ${reason}`);
    });
    await using nvme = await use(undefined);
    expect(nvme.backend).toBe("iommufd");
  });

  test("uses iommufd without /dev/vfio/vfio; type1 is refused", async () => {
    await without([CONTAINER], async () => {
      expect(await caught(use("type1"))).toMatchObject({ code: "ENOENT", object: CONTAINER });
      await using nvme = await use(undefined);
      expect(nvme.backend).toBe("iommufd");
    });
  });

  test("throws one error with both reasons without either", async () => {
    await without([IOMMUFD, CONTAINER], async () => {
      const error = await caught(use(undefined));
      expect(error).toBeInstanceOf(UnsupportedError);
      expect(error.message).toContain(`${nvmeBdf()} can't be opened through any backend`);
      expect(error.message).toContain("iommufd: open on /dev/iommu: ENOENT (this kernel has no iommufd");
      expect(error.message).toContain(
        "type1: open on /dev/vfio/vfio: ENOENT (this kernel has no VFIO container",
      );
      expect(error.cause).toBeInstanceOf(AggregateError);
      expect(error.cause).toMatchObject({ errors: [{ object: IOMMUFD }, { object: CONTAINER }] });
    });
  });
});

describe("a user without permission on the device nodes", () => {
  let binding: VfioBinding;
  beforeAll(() => {
    binding = bindToVfio(nvmeBdf());
  });
  afterAll(() => binding.close());

  async function openAsNobody(options: object): Promise<unknown> {
    const child = await runChild(guestProgram("nobody-open"), nvmeBdf(), JSON.stringify(options));
    expect(child.stderr).toBe("");
    expect(await child.ended).toBe(0);
    return JSON.parse(child.stdout);
  }

  function refused(node: string): unknown {
    return expect.objectContaining({
      name: "SysError",
      code: "EACCES",
      message: expect.stringMatching(new RegExp(`^open on ${node}: EACCES \\(give this user .*permission`)),
    });
  }

  const group = (): string => `/dev/vfio/${readPciFunction(nvmeBdf()).iommuGroup}`;

  test("gets an error that names the node, with every backend", async () => {
    expect(await openAsNobody({ backend: "iommufd" })).toEqual(refused(IOMMUFD));
    // The kernel lets everybody open the container.
    expect(await openAsNobody({ backend: "type1" })).toEqual(refused(group()));
    const any = await openAsNobody({});
    expect(any).toMatchObject({ name: "UnsupportedError" });
    expect(any).toMatchObject({ message: expect.stringContaining(`open on ${IOMMUFD}: EACCES`) });
    expect(any).toMatchObject({ message: expect.stringContaining(`open on ${group()}: EACCES`) });
  });

  test("needs permission on /dev/iommu and on the device's node for iommufd", async () => {
    const { mode } = statSync(IOMMUFD);
    chmodSync(IOMMUFD, 0o666);
    try {
      const error = await openAsNobody({ backend: "iommufd" });
      expect(error).toEqual(refused("/dev/vfio/devices/vfio\\d+"));
      const [, node = ""] = /open on (\S+):/.exec(JSON.stringify(error)) ?? [];
      chmodSync(node, 0o666);
      expect(await openAsNobody({})).toEqual({
        backend: "iommufd",
        backendReason: "iommufd works and comes first",
      });
    } finally {
      chmodSync(IOMMUFD, mode & 0o777);
    }
  });

  test("can use type1 with permission on the group", async () => {
    chmodSync(group(), 0o666);
    expect(await openAsNobody({})).toEqual({
      backend: "type1",
      backendReason: expect.stringMatching(/^iommufd can't be used: open on \/dev\/iommu: EACCES/),
    });
  });
});
