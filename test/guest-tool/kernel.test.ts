import { describe, expect, it } from "vitest";
import { compareDebianVersions, parseMadison } from "../../guest/debian.js";
import { overlay, unmetOptions } from "../../guest/kernel.js";

describe("the order of Debian's versions", () => {
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

  it("is by number, with a tilde before everything and the epoch first", () => {
    const shuffled = ordered.toReversed();
    expect(shuffled.sort(compareDebianVersions)).toEqual(ordered);
  });

  it("knows equal versions", () => {
    expect(compareDebianVersions("7.3.4", "0:7.3.4-0")).toBe(0);
  });
});

it("versions come from apt's table", () => {
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

describe("the check of a finished kernel config", () => {
  const config = ["CONFIG_PCI=y", "CONFIG_NR_CPUS=4", "# CONFIG_SWAP is not set", "CONFIG_TINY=y", ""].join(
    "\n",
  );

  it("names what kconfig dropped or changed", () => {
    const fragment = "CONFIG_PCI=y\nCONFIG_VFIO=y\nCONFIG_NR_CPUS=16\nCONFIG_TINY=n\n";
    expect(unmetOptions(fragment, config)).toEqual(["CONFIG_VFIO=y", "CONFIG_NR_CPUS=16", "CONFIG_TINY=n"]);
  });

  it("takes an option that is off for one that was asked to be off", () => {
    expect(unmetOptions("CONFIG_SWAP=n\nCONFIG_GONE=n\n", config)).toEqual([]);
  });

  it("lets options be missing that not every version has", () => {
    expect(unmetOptions("CONFIG_PCI=y\n# may be absent\nCONFIG_VFIO=y\n", config)).toEqual([]);
  });
});

it("another configuration takes the place of the same options, and leaves those that may be absent last", () => {
  const base = "CONFIG_PCI=y\nCONFIG_VFIO=y\nCONFIG_VFIO_PCI=y\n# may be absent\nCONFIG_NEW=y\n";
  const both = overlay(base, "CONFIG_VFIO=n\n");
  expect(unmetOptions(both, "CONFIG_PCI=y\nCONFIG_VFIO_PCI=y\n")).toEqual([]);
  expect(unmetOptions(both, "CONFIG_PCI=y\nCONFIG_VFIO=y\n")).toEqual(["CONFIG_VFIO=n", "CONFIG_VFIO_PCI=y"]);
});
