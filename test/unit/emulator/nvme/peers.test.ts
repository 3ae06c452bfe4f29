/** Two hosts with the library's driver, each on a controller of one NVM subsystem, in a thread and as a command. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { describe, expect, onTestFinished, test } from "vitest";
import { NvmeController, NvmeError } from "../../../../src/index.js";
import { NvmeStatus } from "../../../../src/nvme/spec/status.js";
import { emulate, socketPath } from "../../../support/emulators.js";
import { compileCli } from "../../../support/iova-cli.js";

const MIB = 1 << 20;

async function inThread(sockets: readonly [string, string]): Promise<void> {
  const [socket, peer] = sockets;
  const emulator = await emulate({ device: "nvme", socket, peers: [peer], options: { sizeBytes: 16 * MIB } });
  onTestFinished(() => emulator.close());
}

async function asCommand(sockets: readonly [string, string]): Promise<void> {
  const cli = compileCli();
  onTestFinished(() => cli[Symbol.dispose]());
  const args = ["emulate", "nvme", "--socket", sockets[0], "--peer", sockets[1], "--size", "16M"];
  const child = spawn(process.execPath, [cli.path, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  onTestFinished(async () => {
    child.kill("SIGINT");
    if (child.exitCode === null) await once(child, "exit");
  });
  const [line] = await once(child.stdout.setEncoding("utf8"), "data");
  expect(line).toBe(
    `emulated NVMe controller at vfio-user:${sockets[0]} and vfio-user:${sockets[1]}; Ctrl-C ends it\n`,
  );
}

describe.each([
  ["of startEmulator()", inThread],
  ["of iova emulate nvme --peer", asCommand],
] as const)("two controllers %s", (_, start) => {
  test("have the same data, and a reservation of one host keeps the other out until it is released", async () => {
    const sockets = [socketPath(), socketPath()] as const;
    await start(sockets);
    await using a = await NvmeController.open(`vfio-user:${sockets[0]}`);
    await using b = await NvmeController.open(`vfio-user:${sockets[1]}`);
    expect(a.identify.cntlid).not.toBe(b.identify.cntlid);
    expect(a.identify.subnqn).toBe(b.identify.subnqn);
    const [mine, theirs] = [await a.namespace(1), await b.namespace(1)];
    await mine.write(0, Buffer.alloc(mine.blockSizeBytes, "a"));
    expect(await theirs.read(0, theirs.blockSizeBytes)).toEqual(Buffer.alloc(theirs.blockSizeBytes, "a"));

    await a.features.structures.setHostIdentifier(1n);
    await b.features.structures.setHostIdentifier(2n);
    await mine.reservations.register(0xan);
    await mine.reservations.acquire(0xan, "write-exclusive");
    const refused: unknown = await theirs
      .write(0, Buffer.alloc(theirs.blockSizeBytes, "b"))
      .catch((error) => error);
    expect(refused).toBeInstanceOf(NvmeError);
    expect(refused).toMatchObject({ statusCode: NvmeStatus.reservationConflict });
    expect(await theirs.read(0, theirs.blockSizeBytes)).toEqual(Buffer.alloc(theirs.blockSizeBytes, "a"));
    expect((await theirs.reservations.report()).registrants).toMatchObject([{ holds: true, key: 0xan }]);

    await mine.reservations.release(0xan, "write-exclusive");
    await theirs.write(0, Buffer.alloc(theirs.blockSizeBytes, "b"));
    expect(await mine.read(0, mine.blockSizeBytes)).toEqual(Buffer.alloc(mine.blockSizeBytes, "b"));
  });
});
