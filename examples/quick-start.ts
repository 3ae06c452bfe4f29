/** Reads the first block of an NVMe namespace: `node dist/examples/quick-start.js 0000:00:03.0`. */
import { bindToVfio, NvmeController } from "iova";

const bdf = process.argv[2] ?? "";
using binding = bindToVfio(bdf); // the kernel's driver comes back at the end of the block
await using nvme = await NvmeController.open(binding.bdf); // iommufd, or type1 where there is none
console.log(nvme.identify.mn, "through", nvme.backend, "because", nvme.backendReason);

const ns = await nvme.namespace(1);
using buffer = nvme.dma.alloc(64 * 1024); // memory the device can reach, outside V8's heap
await ns.read(0n, buffer, { length: ns.blockSizeBytes });
console.log(Buffer.from(buffer.view(0, ns.blockSizeBytes)).toString("hex"));
