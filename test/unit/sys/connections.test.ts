/** Connections of a listener, taken from the event loop. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Errno } from "../../../src/core/errno.js";
import { SysError } from "../../../src/index.js";
import { UnixListener, UnixSocket, watchConnections } from "../../../src/sys/unix-socket.js";
import { expectNothingLeftSoon } from "../../support/holdings-soon.js";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "iova-connections-"));
  path = join(folder, "socket");
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true });
});
expectNothingLeftSoon();

/** Turns of the event loop, far more than anything here takes. */
async function turnsUntil(condition: () => boolean, most = 100_000): Promise<void> {
  for (let i = 0; i < most && !condition(); i++) await setImmediate();
}

test("a listener that is out of descriptors rests, and takes the connection that waited when there are some", async () => {
  using listener = new UnixListener(path);
  const accept = vi.spyOn(listener, "accept").mockImplementation(() => {
    throw new SysError("accept4", Errno.EMFILE, { object: path });
  });
  const taken: UnixSocket[] = [];
  using _watch = watchConnections(listener, (socket) => void taken.push(socket))
    .unref()
    .ref();
  using _client = UnixSocket.connect(path);
  await turnsUntil(() => accept.mock.calls.length > 0);
  // The connection waits, so that the socket stays readable.
  await turnsUntil(() => false, 100);
  expect(accept.mock.calls).toHaveLength(1);
  vi.advanceTimersToNextTimer();
  await turnsUntil(() => accept.mock.calls.length > 1);
  accept.mockRestore();
  vi.advanceTimersToNextTimer();
  await turnsUntil(() => taken.length > 0);
  expect(taken).toHaveLength(1);
  taken[0]?.close();
});

test("a watch that is closed while its listener rests takes nothing any more", async () => {
  using listener = new UnixListener(path);
  const accept = vi.spyOn(listener, "accept").mockImplementation(() => {
    throw new SysError("accept4", Errno.EMFILE, { object: path });
  });
  const watch = watchConnections(listener, (socket) => socket.close());
  using _client = UnixSocket.connect(path);
  await turnsUntil(() => accept.mock.calls.length > 0);
  expect(vi.getTimerCount()).toBe(1);
  watch.close();
  expect(vi.getTimerCount()).toBe(0);
});
