/** Has V8 compile what a program's first read of a controller takes, and keeps that code for later imports. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NvmeController } from "iova";
import { startEmulator } from "iova/emulator";
import { saveCode } from "../src/bundle.js";

const folder = mkdtempSync(join(tmpdir(), "iova-build-"));
try {
  await using emulator = await startEmulator({
    socket: join(folder, "nvme.sock"),
    device: "nvme",
    options: {},
  });
  for (const completion of ["interrupt", "poll"] as const) {
    await using nvme = await NvmeController.open(emulator.address, { completion });
    const ns = await nvme.namespace(1);
    using buffer = nvme.dma.alloc(ns.blockSizeBytes);
    await ns.write(0n, buffer);
    await ns.read(0n, buffer);
  }
  saveCode();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
