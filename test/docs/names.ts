/**
 * Names that a snippet may use without declaring them. A page shows once how a controller is opened; later snippets just
 * say `nvme`. Each name stands for an expression, which is added when a snippet uses the name. `$` names are its parts.
 */

interface Provided {
  /** An expression; `$iova` and `$emulator` are the package's modules. */
  readonly value: string;
  /** `using` if the value must be closed. */
  readonly keep?: "using" | "await using";
  /** Other entries it needs. */
  readonly needs?: readonly string[];
}

/** Each entry comes after those that it needs. */
export const provided: Readonly<Record<string, Provided>> = {
  nvme: { value: 'await $iova.NvmeController.open("0000:00:03.0")', keep: "await using" },
  ns: { value: "await $nvme.namespace(1)", needs: ["nvme"] },
  buffer: { value: "$nvme.dma.alloc(64 * 1024)", keep: "using", needs: ["nvme"] },
  data: { value: "$nvme.dma.alloc(4096)", keep: "using", needs: ["nvme"] },
  header: { value: "$nvme.dma.alloc(4096)", keep: "using", needs: ["nvme"] },
  body: { value: "$nvme.dma.alloc(16 * 1024)", keep: "using", needs: ["nvme"] },
  metadata: { value: "$nvme.dma.alloc(4096)", keep: "using", needs: ["nvme"] },
  device: { value: '$iova.PciDevice.open("0000:00:04.0")', keep: "using" },
  source: { value: '$iova.PciDevice.open("vfio-user:/tmp/one.sock")', keep: "using" },
  target: { value: '$iova.PciDevice.open("vfio-user:/tmp/other.sock")', keep: "using" },
  dma: { value: "$device.dma", needs: ["device"] },
  signal: { value: "new AbortController().signal" },
  lba: { value: "0" },
  nsid: { value: "1" },
  cid: { value: "0" },
  zoneStart: { value: "0n" },
  folder: { value: "process.cwd()" },
};
