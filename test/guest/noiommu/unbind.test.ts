/** Unbinding a function that a process has open: the kernel waits for that process, and the library doesn't. */
import { existsSync } from "node:fs";
import { expect, test, vi } from "vitest";
import { groupOf } from "../../../src/doors/vfio.js";
import {
  bindToVfio,
  bindToVfioAsync,
  TimeoutError,
  unbindFromVfio,
  unbindFromVfioAsync,
} from "../../../src/index.js";
import { unbindOpened, unbindOpenedAsync } from "../../../src/pci/bind.js";
import { driverOf } from "../../../src/pci/sysfs.js";
import { cdevPath } from "../../../src/vfio/cdev.js";
import { caught } from "../../support/caught.js";
import { Child } from "../../support/child.js";
import { eduBdf } from "../../support/functions.js";
import { guestProgram } from "../../support/guest-programs.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";

const HANG_MS = 540_000;
/** Enough for every step that doesn't block. */
const LIMIT_MS = 8000;

expectNothingLeftSoon();

/** Three ways to give up: the error that comes. */
const ways: readonly {
  readonly way: string;
  readonly unbind: (bdf: string) => Promise<unknown>;
  readonly gives: (bdf: string, holder: string) => object;
}[] = [
  {
    way: "unbinding ends at its limit",
    unbind: async (bdf) => unbindOpened(bdf, { timeoutMs: LIMIT_MS }),
    gives: late,
  },
  {
    way: "unbinding beside the thread ends at its limit",
    unbind: async (bdf) => await unbindOpenedAsync(bdf, { timeoutMs: LIMIT_MS }),
    gives: late,
  },
  {
    way: "unbinding beside the thread ends with its signal",
    unbind: async (bdf) => await unbindOpenedAsync(bdf, { signal: AbortSignal.timeout(2000) }),
    gives: () => ({ name: "TimeoutError", constructor: DOMException }),
  },
];

function late(bdf: string, holder: string): object {
  return {
    constructor: TimeoutError,
    message:
      `writing "${bdf}" to /sys/bus/pci/devices/${bdf}/driver/unbind: no answer within ${LIMIT_MS} ms ` +
      `(the kernel still waits, and may do it later; ${bdf} is open in ${holder}: close it there, then try again)`,
  };
}

test.each(ways)(
  "a function that a process opens after the check is unbound once it closes it; until then $way",
  async ({ unbind, gives }) => {
    const bdf = eduBdf();
    bindToVfio(bdf).relinquish();
    const groupNode = `/dev/vfio/noiommu-${groupOf(bdf)}`;
    const node = cdevPath(bdf);
    const holder = new Child(guestProgram("device-holder"), bdf, JSON.stringify({ backend: "noiommu" }));
    await holder.says("open");

    const error = await caught(unbind(bdf));
    expect(error).toMatchObject(gives(bdf, `process ${holder.pid} (node, ${node})`));
    expect(existsSync(groupNode)).toBe(true);

    holder.tell("close");
    expect(await holder.ended).toBe(0);
    await vi.waitFor(() => expect(existsSync(groupNode)).toBe(false), { timeout: HANG_MS });
    expect(driverOf(bdf)).toBeUndefined();
    expect(await unbindFromVfioAsync(bdf)).toBeUndefined();
    expect(unbindFromVfio(bdf)).toBeUndefined();
    {
      await using _binding = await bindToVfioAsync(bdf);
      expect(driverOf(bdf)).toBe("vfio-pci");
    }
    expect(driverOf(bdf)).toBeUndefined();
  },
);
