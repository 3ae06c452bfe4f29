/** The benches that `npm run bench -- NAME` runs. */
export interface Bench {
  readonly name: string;
  readonly purpose: string;
  /** The program, as a path below bench/ without its ending. */
  readonly program: string;
  /** Options of the guest that it runs in; on this machine if left out. */
  readonly guest?: {
    readonly memory?: string;
    readonly append?: readonly string[];
    readonly qemuArgs?: readonly string[];
  };
  /** The guest needs a QEMU newer than stable Debian's. */
  readonly foreignQemu?: boolean;
  /** Debian programs whose paths it gets by options of the same name. */
  readonly debian?: readonly string[];
}

export const benches: readonly Bench[] = [
  {
    name: "map-unmap",
    purpose: "map and unmap of 4 KiB through iommufd and type1, against a C program doing the same",
    program: "map-unmap/main",
    guest: {},
  },
  {
    name: "mappings",
    purpose:
      "100,000 mappings of 4 KiB at a time (or as many as each argument says), against a C program doing the same",
    program: "mappings/main",
    guest: {},
  },
  {
    name: "rings",
    purpose:
      "NVMe submission and completion rings against the same loop in C, on a controller simulated in C",
    program: "rings/main",
  },
  {
    name: "libvfn",
    purpose: "iova nvme perf beside libvfn's perf (--perf-binary PATH) on one NVMe controller",
    program: "nvme-guest",
    guest: {},
  },
  {
    name: "nvme-guest",
    purpose: "the same beside the kernel's own driver through fio with io_uring",
    program: "nvme-guest",
    // Queues that the kernel's driver can poll.
    guest: { append: ["nvme.poll_queues=1"] },
    debian: ["fio"],
  },
  {
    name: "nvme-real",
    purpose: "the same on this machine, as root: --device BDF, which is taken from the kernel for a while",
    program: "nvme-guest",
    debian: ["fio"],
  },
  {
    name: "start-up",
    purpose: "import to first completed read, beside libvfn's identify program (--identify-binary PATH)",
    program: "start-up",
    guest: {},
  },
  {
    name: "igb",
    purpose: "frames from one 82576 network controller to another, against a C program with the same rings",
    program: "igb/main",
    foreignQemu: true,
    guest: {
      qemuArgs: ["left", "right"].flatMap((id, i) => [
        ...["-netdev", `hubport,id=net-${id},hubid=0`],
        ...["-device", `pcie-root-port,id=port-${id},chassis=${i + 1},addr=0x1${i}`],
        ...["-device", `igb,netdev=net-${id},bus=port-${id}`],
      ]),
    },
  },
  {
    name: "igb-rings",
    purpose: "the same rings without emulation, on two 82576 and a wire of several speeds simulated in C",
    program: "igb/native",
  },
  {
    name: "virtio",
    purpose: "4 KiB random reads of a virtio disk by the example's driver, beside the kernel's through fio",
    program: "virtio",
    guest: {
      qemuArgs: [
        ...["-blockdev", "driver=null-co,node-name=virtio,size=1073741824,read-zeroes=on"],
        ...["-device", "virtio-blk-pci,drive=virtio,iommu_platform=on,disable-legacy=on,packed=on,addr=0x10"],
      ],
    },
    debian: ["fio"],
  },
  {
    name: "emulator",
    purpose: "the emulated NVMe controller through the rings, host and controller on a thread each",
    program: "emulator",
  },
  {
    name: "registers",
    purpose: "declared registers beside bare typed-array accesses, and their garbage",
    program: "registers",
  },
  {
    name: "descriptors",
    purpose: "declared descriptors beside index arithmetic on typed arrays, and their garbage",
    program: "descriptors",
  },
  {
    name: "pool",
    purpose: "small buffers of a DmaPool, and what they leave to the garbage collector",
    program: "pool",
  },
  {
    name: "iova-allocator",
    purpose: "I/O virtual addresses with 10 to 100,000 live ranges",
    program: "iova-allocator",
  },
];
