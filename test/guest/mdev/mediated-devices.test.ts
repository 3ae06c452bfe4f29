/** Mediated devices as PCI functions: created, listed, opened by their UUID, driven and removed. */
import { randomUUID } from "node:crypto";
import { afterEach, describe, expect, test } from "vitest";
import { runMdev } from "../../../src/cli/mdev.js";
import { runShow } from "../../../src/cli/show.js";
import {
  createMediatedDevice,
  listMediatedDevices,
  listMediatedParents,
  MediatedDevice,
  removeMediatedDevice,
} from "../../../src/doors/pci.js";
import {
  ArgumentError,
  BusyError,
  ConfigError,
  PciDevice,
  SysError,
  UnsupportedError,
} from "../../../src/index.js";
import { caught } from "../../support/caught.js";
import { Child } from "../../support/child.js";
import { guestProgram } from "../../support/guest-programs.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";
import { INTERRUPT_WHEN_EMPTY, MttyPort, Uart } from "../../support/mtty.js";
import { backends } from "../../support/nvme-machine.js";
import { said } from "../../support/said.js";
import { asUnprivileged } from "../../support/unprivileged.js";

const PARENTS = ["mbochs", "mdpy", "mtty"];

function available(type: string): number | undefined {
  const types = listMediatedParents().flatMap((parent) => parent.types);
  return types.find(({ id }) => id === type)?.availableInstances;
}

expectNothingLeftSoon();
afterEach(async () => {
  const left = listMediatedDevices().map(({ uuid }) => uuid);
  for (const uuid of left) await removeMediatedDevice(uuid);
  expect(left).toEqual([]);
});

describe("mediated devices", () => {
  test("are listed with their parents and types, created, and removed by close()", async () => {
    const parents = listMediatedParents();
    expect(parents.map(({ name }) => name)).toEqual(PARENTS);
    expect(parents.find(({ name }) => name === "mtty")?.types).toMatchObject([
      { id: "mtty-1", name: "Single port serial", description: undefined, deviceApi: "vfio-pci" },
      { id: "mtty-2", name: "Dual port serial", description: undefined, deviceApi: "vfio-pci" },
    ]);
    const before = available("mtty-2") ?? 0;
    const uuid = randomUUID();
    {
      await using made = await createMediatedDevice("mtty", "mtty-2", { uuid: uuid.toUpperCase() });
      expect(made).toBeInstanceOf(MediatedDevice);
      expect(made).toMatchObject({ uuid, parent: "mtty", type: "mtty-2" });
      expect(available("mtty-2")).toBe(before - 1);
      expect(listMediatedDevices()).toEqual([
        {
          uuid,
          parent: "mtty",
          type: "mtty-2",
          deviceApi: "vfio-pci",
          driver: "mtty",
          iommuGroup: expect.any(Number),
        },
      ]);
      expect(await caught(createMediatedDevice("mtty", "mtty-1", { uuid }))).toMatchObject({
        message: `there is a mediated device ${uuid} already`,
      });
    }
    expect(listMediatedDevices()).toEqual([]);
    expect(available("mtty-2")).toBe(before);
    // Without await, too; and what has gone already needs no removal.
    const other = await createMediatedDevice("mdpy", "mdpy-vga");
    other.close();
    const gone = await createMediatedDevice("mtty", "mtty-1");
    await removeMediatedDevice(gone.uuid);
    gone.close();
    other.close();
  });

  test("aren't created from wrong arguments, and not without root", async () => {
    const wrong: readonly [() => Promise<unknown>, string][] = [
      [() => createMediatedDevice("none", "mtty-1"), `parents of this host: ${PARENTS.join(", ")}`],
      [() => createMediatedDevice("mtty", "../mtty-1"), "only mtty-1, mtty-2"],
      [() => createMediatedDevice("mtty", "mtty-1", { uuid: "card" }), 'uuid must be a UUID, got "card"'],
      [() => createMediatedDevice("mtty", "mtty-1", { timeoutMs: 0 }), "timeoutMs"],
      [() => removeMediatedDevice("card"), "uuid must be a UUID"],
      [() => removeMediatedDevice(randomUUID()), "there is no mediated device"],
    ];
    for (const [ask, message] of wrong) {
      const error = await caught(ask);
      expect(error).toBeInstanceOf(ArgumentError);
      expect(error.message).toContain(message);
    }
    let created: Promise<unknown> = Promise.resolve();
    asUnprivileged({}, () => {
      created = caught(createMediatedDevice("mtty", "mtty-1"));
    });
    const error = await created;
    expect(error).toBeInstanceOf(SysError);
    expect(error).toMatchObject({ code: "EACCES", message: expect.stringContaining("needs root") });
  });

  test("end when a parent can't make more", async () => {
    const made: MediatedDevice[] = [];
    try {
      while ((available("mdpy-hd") ?? 0) > 0) made.push(await createMediatedDevice("mdpy", "mdpy-hd"));
      expect(made.length).toBeGreaterThan(0);
      const error = await caught(createMediatedDevice("mdpy", "mdpy-hd"));
      expect(error).toBeInstanceOf(UnsupportedError);
      expect(error.message).toContain("can't make one more mdpy-hd");
    } finally {
      for (const each of made) await each.closeAsync();
    }
  });
});

describe.each(backends)("a serial card by its UUID through %s", (backend) => {
  test("is a PCI function with registers, configuration space and reset", async () => {
    await using card = await createMediatedDevice("mtty", "mtty-2");
    await using device = PciDevice.open(card.uuid.toUpperCase(), { backend });
    expect([device.bdf, device.backend]).toEqual([card.uuid, backend]);
    const { iommuGroup } = listMediatedDevices()[0] ?? {};
    expect(device.function).toMatchObject({
      bdf: card.uuid,
      vendorId: 0x4348,
      deviceId: 0x3253,
      classCode: 0x070002,
      driver: "mtty",
      iommuGroup,
      bars: [
        { index: 0, kind: "io", sizeBytes: 8 },
        { index: 1, kind: "io", sizeBytes: 8 },
      ],
    });
    expect(device.config.header.command.get("ioSpace")).toBe(true);
    // It has no memory decoding that could be switched off. The sample driver ignores the bit.
    device.config.busMaster = true;
    device.bar(0).write8(Uart.scratch, 0x5a);
    expect(device.bar(0).read8(Uart.scratch)).toBe(0x5a);
    expect(device.bar(1).read8(Uart.scratch)).toBe(0);
    new MttyPort(device.io, 0).send("hello");
    expect(new MttyPort(device.io, 0).receive()).toBe("hello");
    device.reset();
    await device.resetAsync();
    expect(device.power.state).toBe("D0");
    using buffer = device.dma.alloc(8192);
    expect(buffer.iova).toBeGreaterThan(0n);
    using other = await createMediatedDevice("mtty", "mtty-1");
    using beside = PciDevice.open(other.uuid, { dma: device.dma });
    expect(beside.backend).toBe(backend);
  });

  test.each(["intx", "msi"] as const)("interrupts by %s", async (kind) => {
    await using card = await createMediatedDevice("mtty", "mtty-1");
    using device = PciDevice.open(card.uuid, { backend });
    expect(() => device.enableInterrupts({ kind: "msix" })).toThrow(UnsupportedError);
    using interrupts = device.enableInterrupts({ kind });
    const [vector] = interrupts.vectors;
    for (let i = 0; i < 2; i++) {
      // The sample forgets an INTx that it raises while it is masked, and waiting ends the mask.
      const arrives = vector?.once({ timeoutMs: 60_000 });
      device.bar(0).write8(Uart.interruptEnable, INTERRUPT_WHEN_EMPTY);
      expect(await arrives).toBeGreaterThan(0);
    }
  });

  test("says what a mediated device can't do", async () => {
    await using card = await createMediatedDevice("mtty", "mtty-1");
    using device = PciDevice.open(card.uuid, { backend });
    for (const ask of [
      () => device.bar(0).map(),
      () => device.reset({ scope: "bus" }),
      () => device.affectedByReset(),
      () => device.power.enterLowPower(),
      () => device.setVfToken(randomUUID()),
      () => device.createVirtualFunctions(1),
      () => device.openVirtualFunction(0),
    ]) {
      expect(await caught(async () => await ask())).toBeInstanceOf(UnsupportedError);
    }
    expect(() => device.bar(2)).toThrow(ArgumentError);
  });

  test("isn't removed while a process has it open: the error names the process", async () => {
    await using card = await createMediatedDevice("mtty", "mtty-1");
    const expectHeldBy = async (pid: number): Promise<void> => {
      for (const remove of [
        () => card.close(),
        () => card.closeAsync(),
        () => removeMediatedDevice(card.uuid),
      ]) {
        const error = await caught(remove);
        expect(error).toBeInstanceOf(BusyError);
        expect(error.message).toContain(`${card.uuid} can't be removed: open in process ${pid} (`);
      }
      expect(card.closed).toBe(false);
    };
    const device = PciDevice.open(card.uuid, { backend });
    await expectHeldBy(process.pid);
    expect(device.bar(0).read8(Uart.scratch)).toBe(0);
    device.close();
    const child = new Child(guestProgram("device-holder"), card.uuid, JSON.stringify({ backend }));
    try {
      await child.says("open");
      await expectHeldBy(child.pid);
    } finally {
      child.kill();
      await child.ended;
    }
  });
});

describe("PciDevice.open of a UUID", () => {
  test("maps the memory of a display where its driver offers that", async () => {
    await using display = await createMediatedDevice("mdpy", "mdpy-vga");
    using device = PciDevice.open(display.uuid);
    expect(device.function).toMatchObject({ deviceId: 0x000f, driver: "mdpy" });
    device.bar(0).write32(0, 0x12345678);
    expect(device.bar(0).read32(0)).toBe(0x12345678);
  });

  test("rejects absent devices, tokens, and a backend that doesn't apply", async () => {
    const absent = randomUUID();
    expect(() => PciDevice.open(absent)).toThrow(`there is no mediated device ${absent}`);
    await using card = await createMediatedDevice("mtty", "mtty-1");
    expect(() => PciDevice.open(card.uuid, { vfToken: randomUUID() })).toThrow("takes no token");
    expect(() => PciDevice.open(card.uuid, { backend: "noiommu" })).toThrow(UnsupportedError);
  });
});

describe("iova mdev", () => {
  test("lists, creates and removes; iova show decodes", async () => {
    expect(await said(() => runMdev([]))).toMatch(
      /^mtty {2}mtty-2 {2}vfio-pci, \d+ available, Dual port serial$/m,
    );
    const uuid = (await said(() => runMdev(["mtty", "--create", "mtty-1"]))).trim();
    expect(await said(() => runMdev([]))).toMatch(
      new RegExp(`^${uuid}  mtty-1 of mtty, group \\d+, mtty$`, "m"),
    );
    const listed = JSON.parse(await said(() => runMdev(["--json"])));
    expect(listed).toEqual(
      JSON.parse(JSON.stringify({ parents: listMediatedParents(), devices: listMediatedDevices() })),
    );
    expect(listed).toMatchObject({ devices: [{ uuid, type: "mtty-1" }] });
    expect(await said(() => runShow([uuid]))).toContain(`${uuid}  070002  4348:3253`);
    const other = randomUUID();
    const made = await said(() => runMdev(["mtty", "--create", "mtty-1", "--uuid", other, "--json"]));
    expect(JSON.parse(made)).toEqual({ uuid: other });
    for (const each of [uuid, other])
      expect(await said(() => runMdev([each, "--remove"]))).toBe(`removed ${each}\n`);
  });

  test.each([
    [["mtty", "--create", "mtty-1", "--remove"], "either --create or --remove"],
    [["--create", "mtty-1"], "--create needs the parent"],
    [["--remove"], "--remove needs the UUID"],
    [["mtty"], "takes an operand with --create or --remove only"],
    [["--uuid", "x"], "--uuid is for what --create makes"],
  ])("refuses %j", async (argv, message) => {
    const error = await caught(runMdev(argv));
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toContain(message);
  });
});
