/** An AbortSignal ends the opening of a controller. */
import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { ConfigError, NvmeController } from "../../../../src/index.js";
import { caught } from "../../../support/caught.js";
import { alsoClose, startController, useEmulatedNvme } from "../../../support/emulated-nvme.js";

useEmulatedNvme();

test("a signal ends open() with its reason at any moment, and the controller can be opened afterwards", async () => {
  const { address } = await startController();
  const reason = new Error("no longer wanted");
  expect(await caught(NvmeController.open(address, { signal: AbortSignal.abort(reason) }))).toBe(reason);
  for (let turns = 0; turns < 4; turns++) {
    const stop = new AbortController();
    const opening = caught(NvmeController.open(address, { signal: stop.signal }));
    for (let i = 0; i < turns; i++) await setImmediate();
    stop.abort(reason);
    expect(await opening).toBe(reason);
  }
  // The server serves one client at a time: this works only if nothing stayed open.
  const nvme = alsoClose(await NvmeController.open(address));
  expect(nvme.lifecycle.state).toBe("live");
});

test("a signal has no effect on a controller that is open", async () => {
  const { address } = await startController();
  const stop = new AbortController();
  const nvme = alsoClose(await NvmeController.open(address, { signal: stop.signal }));
  stop.abort();
  await nvme.namespaceIds();
  expect(nvme.lifecycle.state).toBe("live");
});

test("a signal of another type is a wrong option", async () => {
  expect(
    await caught(NvmeController.open("vfio-user:/nowhere", { signal: {} as AbortSignal })),
  ).toBeInstanceOf(ConfigError);
});
