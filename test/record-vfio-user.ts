/**
 * Records what QEMU's vfio-user client sends while a Linux guest uses an emulated controller: the session that
 * test/unit/vfio-user/server/fuzz.test.ts damages. `npm run build && node dist/test/record-vfio-user.js` writes it anew.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensureForeignQemu } from "../guest/foreign-qemu.js";
import { packageRoot } from "../guest/paths.js";
import { StderrProgress } from "../guest/progress.js";
import { prepareGuest, runGuest } from "../guest/run.js";
import { EmulatorProcesses } from "./emulator-processes.js";

/** As little memory as the guest boots with: whoever plays the session back needs as much address space. */
const MEMORY = "256M";
/** All that the kernel's driver and its PCI core do: start, read and write, two kinds of reset, the end. */
const SCRIPT = `
  until [ -b /dev/nvme0n1 ]; do sleep 0.1; done
  dd if=/dev/urandom of=/dev/nvme0n1 bs=64k count=2 oflag=direct
  dd if=/dev/nvme0n1 of=/dev/null bs=64k count=2 iflag=direct
  echo 1 >/sys/class/nvme/nvme0/reset_controller
  function=$(readlink -f /sys/class/nvme/nvme0/device)
  echo 1 >$function/reset
  dd if=/dev/nvme0n1 of=/dev/null bs=4k count=1 iflag=direct
  echo \${function##*/} >/sys/bus/pci/drivers/nvme/unbind
`;

const session = join(packageRoot(), "test", "unit", "fixtures", "qemu-vfio-user-session.txt");
const folder = mkdtempSync(join(tmpdir(), "iova-record-"));
const progress = new StderrProgress();
rmSync(session, { force: true });
const emulators = await EmulatorProcesses.start(
  folder,
  [{ name: "recorded", args: ["--size", "64M", "--vectors", "3", "--doorbells", "messages"] }],
  { IOVA_RECORD_SESSION: session },
);
try {
  await prepareGuest({ progress });
  const socket = { type: "unix", path: join(folder, "recorded") };
  const { status, problem } = await runGuest({
    command: ["/bin/sh", "-e", "-c", SCRIPT],
    qemu: await ensureForeignQemu({ progress }),
    defaultDevices: false,
    memory: MEMORY,
    qemuArgs: [
      ...[
        "-object",
        `memory-backend-memfd,id=shared,size=${MEMORY},share=on`,
        "-machine",
        "memory-backend=shared",
      ],
      ...["-device", JSON.stringify({ driver: "vfio-user-pci", socket })],
    ],
    timeoutMs: 5 * 60_000,
    progress,
  });
  if (status !== 0) throw new Error(`the guest ended with status ${status} ${problem ?? ""}`);
} finally {
  for (const failure of await emulators.stop()) process.stderr.write(`${failure}\n`);
  rmSync(folder, { recursive: true, force: true });
}
process.stdout.write(`recorded in ${session}\n`);
