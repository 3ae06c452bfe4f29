import { chmodSync, renameSync, statSync } from "node:fs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import {
  ArgumentError,
  type BackendName,
  BusyError,
  bindToVfio,
  ClosedError,
  type DmaSpace,
  IovaSpaceError,
  NvmeController,
  NvmeError,
  type NvmeNamespace,
  NvmeProtocolError,
  PciDevice,
  readPciFunction,
  SysError,
  TimeoutError,
  UnsupportedError,
  type VfioBinding,
} from "../../../src/index.js";
import { ControllerRegisters } from "../../../src/nvme/memory/registers.js";
import { AdminOpcode } from "../../../src/nvme/spec/opcodes.js";
import { ControllerConfig } from "../../../src/nvme/spec/registers.js";
import { caught } from "../../support/caught.js";
import { runChild } from "../../support/child.js";
import { eduBdf, emptyBarBdf, nvmeBdf, pairNvmeBdf, wideNvmeBdf } from "../../support/functions.js";
import { guestProgram } from "../../support/guest-programs.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { backends, bindGroup, groupMembers, ways } from "../../support/nvme-machine.js";
import { provoke } from "../../support/provoke.js";
import { registersIn } from "../../support/registers.js";

vi.setConfig({ testTimeout: 120_000 });

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
    [
      "that lacks the function",
      "0000:00:01",
      '"0000:00:01" is no PCI address: expected for instance 0000:00:03.0',
    ],
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
    expect(throughIommufd.message).toContain("another owner has its IOMMU group");
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
        "open on /dev/iommu: ENOENT (this kernel has no iommufd: CONFIG_IOMMUFD is off or the module is not loaded)";
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

describe("NvmeController.open() of a device that is no NVMe controller", () => {
  test.each(backends)("rejects it through %s", async (backend) => {
    using _binding = bindToVfio(eduBdf());
    const error = await caught(NvmeController.open(eduBdf(), { backend }));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(error.message).toBe(`${eduBdf()} is no NVMe controller: its class code is 0x00ff00, not 0x010802`);
  });
});

describe.each(backends)("a controller that doesn't start, through %s", (backend) => {
  test("rejects with a TimeoutError if the controller never gets ready", async () => {
    using _binding = bindToVfio(emptyBarBdf());
    using device = PciDevice.open(emptyBarBdf(), { backend });
    using bar = device.bar(2).map();
    const registers = new ControllerRegisters(registersIn(bar.words), emptyBarBdf());
    // A controller whose registers read zero is stopped.
    await registers.disable(1000);
    for (const wait of [() => registers.enable(0, 300), () => registers.shutdown(300)]) {
      const error = await caught(wait());
      expect(error).toBeInstanceOf(TimeoutError);
      expect(error).toMatchObject({ code: "ERR_IOVA_TIMEOUT", timeoutMs: 300 });
      expect(error.message).toMatch(new RegExp(`^${emptyBarBdf()}: .*: no answer within 300 ms$`));
    }
  });

  test("rejects with an NvmeProtocolError on a fatal status; the controller can be opened again", async () => {
    provoke("pci_nvme_err_startfail", "pci_nvme_err_startfail_page_too_large");
    using _binding = bindToVfio(nvmeBdf());
    {
      using device = PciDevice.open(nvmeBdf(), { backend });
      using bar = device.bar(0).map();
      const registers = new ControllerRegisters(registersIn(bar.words), nvmeBdf());
      const { maxPageBytes, timeoutMs } = registers.capabilities();
      using queues = device.dma.alloc(2 * PAGE);
      await registers.disable(timeoutMs);
      // Page aligned even for the page size that is too large: the size alone is wrong.
      registers.setAdminQueue(2, 0x4000_0000n, 0x4000_0000n + BigInt(queues.sizeBytes * 1024));
      const mps = Math.log2(maxPageBytes * 2) - 12;
      const config = (mps << ControllerConfig.MPS_SHIFT) | (6 << 16) | (4 << 20);
      const error = await caught(registers.enable(config, timeoutMs));
      expect(error).toBeInstanceOf(NvmeProtocolError);
      expect(error.message).toBe(`${nvmeBdf()} reports a fatal status (CSTS.CFS) when enabled`);
      expect(registers.state()).toEqual({ ready: false, fatal: true, shutdownComplete: false });
      await registers.disable(timeoutMs);
      expect(registers.state().fatal).toBe(false);
    }
    await using nvme = await NvmeController.open(nvmeBdf(), { backend });
    expect(await nvme.namespaceIds()).toEqual([1]);
    await nvme.close();
  });
});

/** Where the next page would be mapped: somewhere else if an address got lost. */
function nextAddress(space: DmaSpace): bigint {
  // What was given back last is kept ready for the next of its size, wherever it lies: another size lets go of it.
  space.alloc(2 * PAGE).close();
  using buffer = space.alloc(PAGE);
  return buffer.iova;
}

describe.each(backends)("an NVMe controller through %s", (backend) => {
  let binding: VfioBinding;
  let nvme: NvmeController;
  let ns: NvmeNamespace;
  let addressBefore: bigint;
  beforeAll(async () => {
    binding = bindToVfio(nvmeBdf());
    nvme = await NvmeController.open(nvmeBdf(), { backend });
    ns = await nvme.namespace(1);
  });
  afterAll(async () => {
    await nvme.close();
    binding.close();
  });
  beforeEach(() => {
    addressBefore = nextAddress(nvme.dma);
  });
  // Whatever was refused or failed, the same controller goes on, and no address is lost.
  afterEach(async () => {
    expect(nextAddress(nvme.dma)).toBe(addressBefore);
    using buffer = nvme.dma.alloc(PAGE);
    await ns.read(0n, buffer);
  });

  test.each([
    ["zero", 0],
    ["negative", -512],
    ["not a number", Number.NaN],
    ["infinite", Number.POSITIVE_INFINITY],
    ["a fraction", 512.5],
    ["no multiple of the block size", 511],
    ["half a block more", 768],
    ["beyond MDTS", 512 * 1024 + 512],
    ["beyond 65536 blocks", 64 * 1024 * 1024],
    ["beyond all numbers", Number.MAX_SAFE_INTEGER + 1],
  ])("rejects a length that is %s", async (_, length) => {
    using buffer = nvme.dma.alloc(1024 * 1024);
    for (const transfer of ["read", "write"] as const) {
      const error = await caught(ns[transfer](0n, buffer, { length }));
      expect(error).toBeInstanceOf(ArgumentError);
      expect(error.message).toMatch(/length/);
      expect(error.message).toContain(String(length));
    }
  });

  test.each([
    ["negative", -4],
    ["not a number", Number.NaN],
    ["a fraction", 0.5],
    ["not aligned to a dword", 2],
    ["at the buffer's end", PAGE],
    ["behind the buffer", PAGE + 4],
  ])("rejects an offset that is %s", async (_, offset) => {
    using buffer = nvme.dma.alloc(PAGE);
    expect(await caught(ns.read(0n, buffer, { offset, length: 512 }))).toBeInstanceOf(ArgumentError);
    expect(await caught(ns.write(0n, buffer, { offset }))).toBeInstanceOf(ArgumentError);
  });

  test("rejects a buffer that is too small", async () => {
    using buffer = nvme.dma.alloc(1024);
    const error = await caught(ns.read(0n, buffer, { length: 1536 }));
    expect(error).toBeInstanceOf(ArgumentError);
    expect(error.message).toContain("1024");
    expect(await caught(ns.read(0n, buffer, { offset: 512, length: 1024 }))).toBeInstanceOf(ArgumentError);
    using odd = nvme.dma.alloc(1000);
    expect(await caught(ns.read(0n, odd))).toBeInstanceOf(ArgumentError);
    await ns.read(0n, odd, { length: 512 });
  });

  test("rejects a closed buffer", async () => {
    const buffer = nvme.dma.alloc(PAGE);
    buffer.close();
    for (const transfer of ["read", "write"] as const) {
      const error = await caught(ns[transfer](0n, buffer));
      expect(error).toBeInstanceOf(ClosedError);
      expect(error.message).toMatch(/^DMA buffer of 4096 bytes .* is closed$/);
    }
  });

  test("rejects a buffer of another controller", async () => {
    using _other = bindToVfio(wideNvmeBdf());
    const wide = await NvmeController.open(wideNvmeBdf(), { backend });
    {
      using foreign = wide.dma.alloc(PAGE);
      const error = await caught(ns.write(0n, foreign));
      expect(error).toBeInstanceOf(ArgumentError);
      expect(error.message).toContain("is of another DMA space than this controller's");
      const wideNs = await wide.namespace(1);
      await wideNs.read(0n, foreign);
      using own = nvme.dma.alloc(PAGE);
      expect(await caught(wideNs.read(0n, own))).toBeInstanceOf(ArgumentError);
    }
    await wide.close();
  });

  test.each([
    ["the first block behind the namespace", (size: bigint) => size, 512],
    ["a last block behind the namespace", (size: bigint) => size - 1n, 1024],
    ["the last address there is", () => 2n ** 64n - 1n, 512],
  ])("reports the controller's own status for %s", async (_, lbaOf, length) => {
    const lba = lbaOf(ns.sizeBlocks);
    provoke(
      `pci_nvme_err_invalid_lba_range Invalid LBA start=${lba}`,
      "pci_nvme_err_req_status nsid 1 status 0x4080",
    );
    using buffer = nvme.dma.alloc(PAGE);
    for (const name of ["read", "write"] as const) {
      const error = await caught(ns[name](lba, buffer, { length }));
      expect(error).toBeInstanceOf(NvmeError);
      expect(error).toMatchObject({
        code: "ERR_IOVA_NVME",
        statusCodeType: 0,
        statusCode: 0x80,
        status: "LBA Out of Range",
        doNotRetry: true,
      });
      expect(error.message).toMatch(new RegExp(`^${name} \\(nsid 0x1, .*\\): LBA Out of Range`));
    }
  });

  test.each([
    ["negative", -1n],
    ["more than 64 bits", 2n ** 64n],
    ["a fraction", 0.5],
    ["a number no longer exact", 2 ** 53],
    ["a text", JSON.parse('"0"')],
    ["nothing", undefined],
  ])("rejects an LBA that is %s", async (_, lba) => {
    using buffer = nvme.dma.alloc(PAGE);
    for (const transfer of ["read", "write"] as const) {
      const error = await caught(ns[transfer](lba, buffer));
      expect(error).toBeInstanceOf(ArgumentError);
      expect(error.message).toContain("lba must be ");
    }
  });

  test("accepts the same address for two commands", async () => {
    const at = addressBefore + 0x100_0000n;
    using first = nvme.dma.alloc(2 * PAGE, { iova: at });
    expect(first.iova).toBe(at);
    for (const iova of [at, at + BigInt(PAGE)]) {
      const error = await caught(() => nvme.dma.alloc(PAGE, { iova }));
      expect(error).toBeInstanceOf(IovaSpaceError);
      expect(error).toMatchObject({ reason: "taken" });
      expect(error.message).toContain(`0x${iova.toString(16)}`);
      expect(error.message).toContain("mapped already");
    }
    // The first is as good as before, and the address can be had again after it.
    await ns.read(0n, first);
    first.close();
    using again = nvme.dma.alloc(PAGE, { iova: at });
    await ns.read(0n, again);
  });

  test.each([
    ["zero", 0],
    ["all namespaces", 0xffff_ffff],
    ["a fraction", 1.5],
    ["negative", -1],
    ["not a number", Number.NaN],
    ["more than 32 bits", 2 ** 32 + 1],
  ])("rejects a namespace id that is %s", async (_, nsid) => {
    const error = await caught(nvme.namespace(nsid));
    expect(error).toBeInstanceOf(ArgumentError);
    expect(error.message).toBe(`nsid must be a whole number from 1 to 4294967294, got ${nsid}`);
  });

  test("rejects a namespace that doesn't exist", async () => {
    const error = await caught(nvme.namespace(2));
    expect(error).toBeInstanceOf(ArgumentError);
    expect(error.message).toBe("there is no active namespace 2");
  });

  test("rejects a namespace id beyond those that the controller can have", async () => {
    provoke("pci_nvme_err_req_status nsid 0 status 0x400b");
    const error = await caught(nvme.namespace(nvme.identify.nn + 1));
    expect(error).toBeInstanceOf(NvmeError);
    expect(error).toMatchObject({
      statusCodeType: 0,
      statusCode: 0x0b,
      status: "Invalid Namespace or Format",
    });
  });

  test("reports a command that the controller doesn't know", async () => {
    provoke(
      "pci_nvme_err_invalid_opc",
      "pci_nvme_err_invalid_admin_opc",
      "pci_nvme_err_req_status nsid 0 status 0x4001",
    );
    const unknown = { opcode: 0x7f, nsid: 1 };
    for (const queue of ["io", "admin"] as const) {
      const error = await caught(nvme[queue](unknown));
      expect(error).toMatchObject({ statusCodeType: 0, statusCode: 1, status: "Invalid Command Opcode" });
      expect(error.message).toContain("command 0x7f (nsid 0x1)");
    }
  });

  test.each([
    ["opcode", { opcode: 256 }],
    ["opcode", { opcode: 1.5 }],
    ["nsid", { opcode: 2, nsid: -1 }],
    ["cdw10", { opcode: 2, cdw10: 2 ** 32 }],
    ["cdw15", { opcode: 2, cdw15: Number.NaN }],
  ])("rejects a command whose %s doesn't fit", async (name, command) => {
    for (const queue of ["io", "admin"] as const) {
      const error = await caught(nvme[queue](command));
      expect(error).toBeInstanceOf(ArgumentError);
      expect(error.message).toContain(name);
    }
  });

  test("rejects a second open()", async () => {
    const error = await caught(NvmeController.open(nvmeBdf(), { backend }));
    expect(error).toBeInstanceOf(SysError);
    expect(["EBUSY", "EINVAL"]).toContain(error instanceof SysError && error.code);
    const any = await caught(NvmeController.open(nvmeBdf()));
    expect(any).toBeInstanceOf(UnsupportedError);
    expect(any.message).toMatch(/iommufd: .*; type1: .*EBUSY/);
  });
});

describe.each(ways)("a closed controller, $backend, $completion", (way) => {
  test("throws a ClosedError on every use; old views read nothing", async () => {
    using _binding = bindToVfio(nvmeBdf());
    const nvme = await NvmeController.open(nvmeBdf(), way);
    const ns = await nvme.namespace(1);
    const buffer = nvme.dma.alloc(PAGE);
    const { bytes } = buffer;
    bytes.fill(1);
    await nvme.close();
    await nvme.close();
    expect(buffer.closed).toBe(true);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    for (const use of [
      () => ns.read(0n, buffer),
      () => ns.write(0n, buffer),
      () => ns.flush(),
      () => nvme.namespace(1),
      () => nvme.namespaceIds(),
      () => nvme.admin({ opcode: AdminOpcode.identify }),
      () => nvme.io({ opcode: 0 }),
      () => nvme.dma.alloc(PAGE),
      () => nvme.device.bar(0),
      () => nvme.device.config.read32(0),
      () => nvme.device.reset(),
      () => buffer.bytes,
    ]) {
      expect(await caught(use)).toBeInstanceOf(ClosedError);
    }
  });
});

describe.each(ways)("a command that gets no answer, through $backend, completions by $completion", (way) => {
  let binding: VfioBinding;
  beforeAll(() => {
    binding = bindToVfio(nvmeBdf());
  });
  afterAll(() => binding.close());

  test("times out: all outstanding commands are rejected, the controller is stopped, and the next open() works", async () => {
    const nvme = await NvmeController.open(nvmeBdf(), { ...way, timeoutMs: 1000 });
    const ns = await nvme.namespace(1);
    // Something to look at CSTS through when the driver has stopped the controller.
    const bar = nvme.device.bar(0).map();
    const registers = new ControllerRegisters(registersIn(bar.words), nvmeBdf());
    expect(registers.state().ready).toBe(true);

    // A controller answers this only when it has an event to tell; here there is none.
    const buffers = [nvme.dma.alloc(PAGE), nvme.dma.alloc(PAGE)];
    const unanswered = buffers.map((buffer) =>
      nvme.admin({ name: "async event request", opcode: AdminOpcode.asyncEventRequest, data: { buffer } }),
    );
    const errors = Promise.all(unanswered.map((promise) => caught(promise)));
    for (const buffer of buffers) expect(() => buffer.close()).toThrow(BusyError);
    // The I/O queue goes on until then.
    using other = nvme.dma.alloc(PAGE);
    await ns.read(0n, other);

    for (const error of await errors) {
      expect(error).toBeInstanceOf(TimeoutError);
      expect(error.message).toMatch(
        /^async event request on queue 0 \(command id \d+; .*\): no answer within 1000 ms$/,
      );
      expect(error).toMatchObject({ timeoutMs: 1000 });
    }
    expect(registers.state().ready).toBe(false);
    expect(registers.config & ControllerConfig.EN).toBe(0);
    for (const buffer of buffers) buffer.close();
    // From now on everything says what happened.
    for (const use of [() => ns.read(0n, other), () => ns.flush(), () => nvme.namespaceIds()]) {
      expect(await caught(use)).toBeInstanceOf(TimeoutError);
    }
    await nvme.close();
    await nvme.close();
    expect(await caught(() => nvme.dma.alloc(PAGE))).toBeInstanceOf(ClosedError);

    await using next = await NvmeController.open(nvmeBdf(), way);
    const again = await next.namespace(1);
    using buffer = next.dma.alloc(PAGE);
    await again.read(0n, buffer);
  });

  test("lets close() end within the time limit", async () => {
    const nvme = await NvmeController.open(nvmeBdf(), { ...way, timeoutMs: 1000 });
    const unanswered = caught(nvme.admin({ opcode: AdminOpcode.asyncEventRequest }));
    await nvme.close();
    expect(await unanswered).toBeInstanceOf(TimeoutError);
  });
});
