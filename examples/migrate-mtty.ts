/**
 * Moves the state of one mediated device to another, as live migration of a virtual machine does. It uses the kernel's sample
 * serial card (CONFIG_SAMPLE_VFIO_MDEV_MTTY). Create two cards by writing a UUID each to
 * /sys/devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/create, then run
 * `node dist/examples/migrate-mtty.js SOURCE-UUID TARGET-UUID`.
 */
import { Iommufd } from "iova/iommufd";
import { Migration, type MigrationData, VfioDevice } from "iova/vfio";

const DATA = 0; // the port loops back: reads return what was written
const FIFO_CONTROL = 2;
const LINE_STATUS = 5;
const [sourceUuid = "", targetUuid = ""] = process.argv.slice(2);

using iommufd = Iommufd.open();
using ioas = iommufd.allocIoas();
using source = open(sourceUuid);
using target = open(targetUuid);

source.writeRegion(0, FIFO_CONTROL, Uint8Array.of(1));
for (const byte of Buffer.from("hello")) source.writeRegion(0, DATA, Uint8Array.of(byte));

const from = new Migration(source);
const to = new Migration(target);
const chunks: Uint8Array[] = [];

// First pass, while the source runs.
using saving = stream(from.setState("pre-copy"));
console.log("to be read while it runs:", saving.precopyInfo().initialBytes, "of", from.dataSize(), "bytes");
drain(saving, chunks);
// Second pass, after the source has stopped.
from.setState("stop-copy");
drain(saving, chunks);
from.setState("stop");

using loading = stream(to.setState("resuming"));
for (const chunk of chunks) loading.write(chunk);
to.setState("running");
console.log("the other card has:", receive(target));

function open(uuid: string): VfioDevice {
  const device = VfioDevice.openCdev(uuid);
  device.bind(iommufd);
  device.attach(ioas);
  return device;
}

function stream(data: MigrationData | undefined): MigrationData {
  if (data === undefined) throw new Error("the device has no migration stream in this state");
  return data;
}

/** Reads until the device has no more data, for now or at all. */
function drain(data: MigrationData, into: Uint8Array[]): void {
  for (;;) {
    const chunk = new Uint8Array(4096);
    const length = data.read(chunk) ?? 0;
    if (length === 0) return;
    into.push(chunk.subarray(0, length));
  }
}

function receive(device: VfioDevice): string {
  const byte = new Uint8Array(1);
  const register = (offset: number): number => {
    device.readRegion(0, offset, byte);
    return byte[0] ?? 0;
  };
  let text = "";
  while ((register(LINE_STATUS) & 1) !== 0) text += String.fromCharCode(register(DATA));
  return text;
}
