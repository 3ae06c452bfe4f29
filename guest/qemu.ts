/** The guest's machine as data; `qemuArguments` turns it into QEMU's command line. */
export interface Machine {
  kernel: string;
  initrd: string;
  /** Kernel parameters, in order; the last of two that contradict each other wins. */
  append: readonly string[];
  memory: string;
  cpus: number;
  kvm: boolean;
  /** Host folder the guest may write to. */
  shareDir: string;
  /** Sockets the tool listens on, one for each virtio port of the guest. */
  ports: Readonly<Record<Port, string>>;
  /** Image of the default devices' nvme; undefined: no default devices. */
  nvmeImage: string | undefined;
  qemuArgs: readonly string[];
  trace: readonly string[];
  qemuLog: string | undefined;
}

/** Separate ports for the two outputs, and one for messages of the guest's init. */
export const PORTS = ["control", "stdout", "stderr"] as const;
export type Port = (typeof PORTS)[number];

export const PORT_NAME_PREFIX = "iova.";
export const ROOT_TAG = "iova-root";
export const SHARE_TAG = "iova-share";

export const DEFAULT_APPEND: readonly string[] = [
  "console=ttyS0",
  "panic=-1",
  "intel_iommu=on",
  "iommu.strict=1",
  // On a busy host, the kernel's check of its timer interrupt fails at boot, and it panics.
  "no_timer_check",
  // Node.js handles SIGSEGV itself, so that the kernel would not say where a program was.
  "print-fatal-signals=1",
  "quiet",
];

export function qemuArguments(machine: Machine): string[] {
  return [
    ...(machine.kvm
      ? // Interrupt remapping needs the half of the interrupt controller that KVM would keep in the kernel.
        ["-machine", "q35,kernel-irqchip=split", "-accel", "kvm", "-cpu", "host"]
      : ["-machine", "q35", "-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max"]),
    ...["-smp", String(machine.cpus), "-m", machine.memory],
    ...["-nodefaults", "-display", "none", "-no-reboot", "-no-user-config"],
    ...["-kernel", machine.kernel, "-initrd", machine.initrd, "-append", machine.append.join(" ")],
    // QEMU's own stdout carries the kernel console. Its stdin is no terminal to take over.
    ...["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"],
    // QEMU needs the IOMMU before the devices that it serves.
    ...(machine.nvmeImage === undefined ? [] : defaultDevices(machine.nvmeImage)),
    ...plumbing(machine),
    ...machine.qemuArgs,
    ...machine.trace.flatMap((pattern) => ["-trace", pattern]),
    ...(machine.qemuLog === undefined ? [] : ["-D", machine.qemuLog]),
  ];
}

function defaultDevices(nvmeImage: string): string[] {
  return [
    ...["-device", "intel-iommu,intremap=on,caching-mode=on"],
    ...["-drive", `file=${escapeValue(nvmeImage)},if=none,id=iova-nvme,format=raw,cache=unsafe`],
    ...["-device", "nvme,serial=deadbeef,drive=iova-nvme,cmb_size_mb=16"],
    ...["-device", "edu"],
    ...["-device", "pci-testdev"],
  ];
}

/**
 * Root file system, share and ports. They sit at the upper end of the bus, so
 * that the devices under test always get the same low addresses.
 */
function plumbing(machine: Machine): string[] {
  const share = escapeValue(machine.shareDir);
  return [
    ...["-fsdev", "local,id=iova-root,path=/,security_model=none,readonly=on,multidevs=remap"],
    ...["-device", `virtio-9p-pci,fsdev=iova-root,mount_tag=${ROOT_TAG},addr=0x1c`],
    ...["-fsdev", `local,id=iova-share,path=${share},security_model=none,multidevs=remap`],
    ...["-device", `virtio-9p-pci,fsdev=iova-share,mount_tag=${SHARE_TAG},addr=0x1d`],
    ...["-device", "virtio-serial-pci,id=iova-serial,addr=0x1e"],
    ...PORTS.flatMap((port, index) => [
      ...["-chardev", `socket,id=iova-${port},path=${escapeValue(machine.ports[port])}`],
      "-device",
      `virtserialport,bus=iova-serial.0,nr=${index + 1},chardev=iova-${port},name=${PORT_NAME_PREFIX}${port}`,
    ]),
  ];
}

/** In QEMU's option lists, a comma separates options, and two commas are one literal comma. */
export function escapeValue(value: string): string {
  return value.replaceAll(",", ",,");
}
