/** The kernel of the guest: the choice of a Debian version, and the check of its configuration. */
import { describe, expect, test } from "vitest";
import { compareDebianVersions, parseMadison } from "../../guest/debian.js";
import { inLoadOrder } from "../../guest/debian-kernel.js";
import { overlay, unmetOptions } from "../../guest/kernel.js";

describe("compareDebianVersions()", () => {
  // Each is older than the next; `dpkg --compare-versions` says the same.
  const ordered = [
    "6.12.94-1",
    "6.12.107-1",
    "7.2.13-1",
    "7.3~rc4-1~exp1",
    "7.3.4-1~bpo13+1",
    "7.3.4-1",
    "7.3.4-1+b1",
    "7.3.4-2",
    "7.10.1-1",
    "1:1.0-1",
  ];

  test("orders versions by number, with the epoch first and a tilde before everything", () => {
    const shuffled = ordered.toReversed();
    expect(shuffled.sort(compareDebianVersions)).toEqual(ordered);
  });

  test("treats an absent epoch and an absent revision as 0", () => {
    expect(compareDebianVersions("7.3.4", "0:7.3.4-0")).toBe(0);
  });
});

test("parseMadison() reads packages and versions from apt's table", () => {
  const table = [
    "linux-source-7.3 | 7.3.4-1~bpo13+1 | http://mirror.example/debian trixie-backports/main amd64 Packages",
    "linux-source-7.2 |   7.2.13-1 | http://mirror.example/debian sid/main amd64 Packages",
    "",
  ].join("\n");
  expect(parseMadison(table)).toEqual([
    { package: "linux-source-7.3", version: "7.3.4-1~bpo13+1" },
    { package: "linux-source-7.2", version: "7.2.13-1" },
  ]);
});

describe("unmetOptions()", () => {
  const config = ["CONFIG_PCI=y", "CONFIG_NR_CPUS=4", "# CONFIG_SWAP is not set", "CONFIG_TINY=y", ""].join(
    "\n",
  );

  test("lists the options that kconfig dropped or changed", () => {
    const fragment = "CONFIG_PCI=y\nCONFIG_VFIO=y\nCONFIG_NR_CPUS=16\nCONFIG_TINY=n\n";
    expect(unmetOptions(fragment, config)).toEqual(["CONFIG_VFIO=y", "CONFIG_NR_CPUS=16", "CONFIG_TINY=n"]);
  });

  test("accepts an option that is absent if it was requested as off", () => {
    expect(unmetOptions("CONFIG_SWAP=n\nCONFIG_GONE=n\n", config)).toEqual([]);
  });

  test("accepts that an option is absent if the fragment says it may be", () => {
    expect(unmetOptions("CONFIG_PCI=y\n# may be absent\nCONFIG_VFIO=y\n", config)).toEqual([]);
  });
});

test("overlay() replaces options of the base, and keeps the options that may be absent last", () => {
  const base = "CONFIG_PCI=y\nCONFIG_VFIO=y\nCONFIG_VFIO_PCI=y\n# may be absent\nCONFIG_NEW=y\n";
  const both = overlay(base, "CONFIG_VFIO=n\n");
  expect(unmetOptions(both, "CONFIG_PCI=y\nCONFIG_VFIO_PCI=y\n")).toEqual([]);
  expect(unmetOptions(both, "CONFIG_PCI=y\nCONFIG_VFIO=y\n")).toEqual(["CONFIG_VFIO=n", "CONFIG_VFIO_PCI=y"]);
});

test("inLoadOrder() puts what a module needs before it, and each once", () => {
  const dependencies = [
    "kernel/net/9p/9pnet_virtio.ko: kernel/drivers/virtio/virtio.ko kernel/net/9p/9pnet.ko",
    "kernel/net/9p/9pnet.ko:",
    "kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko",
  ].join("\n");
  expect(inLoadOrder(dependencies, ["virtio_pci", "9pnet_virtio"])).toEqual([
    "kernel/drivers/virtio/virtio.ko",
    "kernel/drivers/virtio/virtio_ring.ko",
    "kernel/drivers/virtio/virtio_pci.ko",
    "kernel/net/9p/9pnet.ko",
    "kernel/net/9p/9pnet_virtio.ko",
  ]);
  expect(() => inLoadOrder(dependencies, ["nvme"])).toThrow("no module nvme");
});
