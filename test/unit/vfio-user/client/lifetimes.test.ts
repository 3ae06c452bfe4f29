/** Devices behind a socket that a program forgets. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { VfioUserDevice, VfioUserIoEventFd } from "../../../../src/doors/vfio-user.js";
import type { RunningEmulator } from "../../../../src/emulator/worker.js";
import { PciDevice } from "../../../../src/index.js";
import { EDU_IDENTIFICATION, EduRegister } from "../../../support/edu.js";
import { emulate } from "../../../support/emulators.js";
import { drop, useForgottenWarnings } from "../../../support/forgotten.js";
import { describeForgottenDevice } from "../../../support/forgotten-device-suite.js";
import { collectUntil } from "../../../support/gc.js";
import { holdings } from "../../../support/holdings.js";

const PAGE = 4096;

let emulator: RunningEmulator;
/** Before any client: the server closes its end of a connection a moment after the client's. */
let descriptors: number;
beforeAll(async () => {
  emulator = await emulate({ device: "edu", options: {} });
  ({ descriptors } = holdings());
});
afterAll(() => emulator.close());

const forgotten = useForgottenWarnings();

const options = [
  ["", {}],
  [" that looks for its server", { vfioUser: { reconnect: true } }],
] as const;

test.each(options)("a forgotten device%s with open buffers is released as a whole", async (_, open) => {
  drop(() => {
    const device = PciDevice.open(emulator.address, open);
    device.dma.alloc(PAGE);
    device.dma.alloc(4 * PAGE);
    device.bar(0).read32(0);
    device.enableInterrupts({ kind: "msi" });
    device.onPresence(() => device.close());
    if (device.io instanceof VfioUserDevice) VfioUserIoEventFd.of(device.io, 0)[0]?.signal();
  });
  expect(holdings().descriptors).toBeGreaterThan(descriptors + 4);
  expect(await forgotten.warned(/^PCI device .* was never closed/)).toBe(true);
  expect(forgotten.messages.some((message) => message.startsWith("DMA buffer"))).toBe(true);
  expect(await collectUntil(() => holdings().descriptors === descriptors)).toBe(true);
  // The server takes one client after the other: it has let the forgotten one go.
  using next = PciDevice.open(emulator.address);
  expect(next.bar(0).read32(EduRegister.identification)).toBe(EDU_IDENTIFICATION);
});

describeForgottenDevice(() => PciDevice.open(emulator.address), forgotten);
