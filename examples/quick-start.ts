/** Reads the first block of an NVMe namespace: `node dist/examples/quick-start.js 0000:01:00.0`. */
import { bindToVfio, NvmeController } from "iova";

const bdf = process.argv[2] ?? "";
using binding = bindToVfio(bdf); // the kernel's driver gets the device back at the end of the block
await using nvme = await NvmeController.open(binding.bdf); // iommufd where it works, otherwise type1
console.log(nvme.identify.mn, "through", nvme.backend, "because", nvme.backendReason);

const ns = await nvme.namespace(1);
using buffer = nvme.dma.alloc(64 * 1024); // memory that the device can reach, outside V8's heap
await ns.read(0n, buffer, { length: ns.blockSizeBytes });
console.log(Buffer.from(buffer.view(0, ns.blockSizeBytes)).toString("hex"));
