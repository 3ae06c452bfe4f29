/** Errors of the NVMe driver: wrong devices, failed starts, bad requests, closed controllers, time limits. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  ArgumentError,
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
  SysError,
  TimeoutError,
  UnsupportedError,
  type VfioBinding,
} from "../../../src/index.js";
import { ControllerRegisters } from "../../../src/nvme/memory/registers.js";
import { AdminOpcode } from "../../../src/nvme/spec/opcodes.js";
import { ControllerConfig } from "../../../src/nvme/spec/registers.js";
import { caught } from "../../support/caught.js";
import { eduBdf, emptyBarBdf, nvmeBdf, wideNvmeBdf } from "../../support/functions.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { backends, ways } from "../../support/nvme-machine.js";
import { provoke } from "../../support/provoke.js";
import { registersIn } from "../../support/registers.js";

const PAGE = 4096;

expectNothingLeftSoon();

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
      expect(error.message).toContain("belongs to another DMA space");
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

  test("rejects a DMA address that is taken, and loses no address", async () => {
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
