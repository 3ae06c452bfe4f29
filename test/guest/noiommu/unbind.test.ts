/** Unbinding a function that a process has open: the kernel waits for that process, and the library doesn't. */
import { existsSync } from "node:fs";
import { expect, test, vi } from "vitest";
import { groupOf } from "../../../src/doors/vfio.js";
import { bindToVfio, TimeoutError, unbindFromVfio } from "../../../src/index.js";
import { unbindOpened } from "../../../src/pci/bind.js";
import { driverOf } from "../../../src/pci/sysfs.js";
import { cdevPath } from "../../../src/vfio/cdev.js";
import { Child } from "../../support/child.js";
import { eduBdf } from "../../support/functions.js";
import { guestProgram } from "../../support/guest-programs.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";

// Only for what hangs: programs start slowly under emulation.
vi.setConfig({ testTimeout: 300_000 });
const HANG_MS = 60_000;
/** Enough for every step that doesn't block. */
const LIMIT_MS = 8000;

expectNothingLeftSoon();

function errorOf(action: () => unknown): Error {
  try {
    action();
  } catch (error) {
    if (error instanceof Error) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

test("a function that a process opens after the check is unbound once it closes it; until then unbinding ends at its limit and names it", async () => {
  const bdf = eduBdf();
  bindToVfio(bdf).relinquish();
  const groupNode = `/dev/vfio/noiommu-${groupOf(bdf)}`;
  const node = cdevPath(bdf);
  const holder = new Child(guestProgram("device-holder"), bdf, JSON.stringify({ backend: "noiommu" }));
  await holder.says("open");

  const error = errorOf(() => unbindOpened(bdf, { timeoutMs: LIMIT_MS }));
  expect(error).toBeInstanceOf(TimeoutError);
  expect(error.message).toBe(
    `writing "${bdf}" to /sys/bus/pci/devices/${bdf}/driver/unbind: no answer within ${LIMIT_MS} ms ` +
      "(the kernel still waits, and may do it later; " +
      `${bdf} is open in process ${holder.pid} (node, ${node}): close it there, then try again)`,
  );
  expect(existsSync(groupNode)).toBe(true);

  holder.tell("close");
  expect(await holder.ended).toBe(0);
  await vi.waitFor(() => expect(existsSync(groupNode)).toBe(false), { timeout: HANG_MS });
  expect(driverOf(bdf)).toBeUndefined();
  expect(unbindFromVfio(bdf)).toBeUndefined();
  using _binding = bindToVfio(bdf);
  expect(driverOf(bdf)).toBe("vfio-pci");
});
