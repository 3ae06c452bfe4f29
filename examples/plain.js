/**
 * Reads the first block of an NVMe namespace, in plain JavaScript: without `using`, each object is closed in a `finally`.
 * `node examples/plain.js ADDRESS`, where ADDRESS is a PCI address that is bound to vfio-pci, or `vfio-user:PATH`.
 */
import { NvmeController } from "iova";

const [address] = process.argv.slice(2);
if (address === undefined) throw new Error("usage: node examples/plain.js ADDRESS");

const nvme = await NvmeController.open(address);
try {
  const ns = await nvme.namespace(1);
  const buffer = nvme.dma.alloc(ns.blockSizeBytes);
  try {
    await ns.read(0, buffer);
    console.log(Buffer.from(buffer.bytes).toString("hex"));
  } finally {
    buffer.close();
  }
} finally {
  // Closes what is left of it, too: a forgotten buffer doesn't keep the device.
  await nvme.close();
}
