/** The table of controllers with quirks. Its facts are Linux's and SPDK's; see docs/nvme.md for what isn't taken over. */
import type { NvmeQuirkName } from "./quirks.js";

/** Where rows come from. */
export const sources = {
  linux: "Linux, nvme_id_table of drivers/nvme/host/pci.c",
  linuxModel: "Linux, core_quirks of drivers/nvme/host/core.c",
  spdk: "SPDK, lib/nvme/nvme_quirks.c",
  both: "Linux, drivers/nvme/host/pci.c; SPDK, lib/nvme/nvme_quirks.c",
} as const;

/** A row: a controller and its quirks. */
export interface KnownController {
  /** PCI vendor and device id in hexadecimal; a device id of `*` is any. */
  readonly id: string;
  /** What people call it. */
  readonly name: string;
  /** Model number of Identify Controller, if only this model has the quirks. */
  readonly model?: string;
  /** Firmware revision of Identify Controller, if only this one has the quirks. */
  readonly firmware?: string;
  readonly quirks: readonly NvmeQuirkName[];
  readonly source: keyof typeof sources;
}

/** All rows, sorted by vendor and device. */
export const knownControllers: readonly KnownController[] = [
  { id: "025e:f1ac", name: "Solidigm P44 Pro", source: "linux", quirks: ["no-deepest-power-state"] },
  {
    id: "106b:2001",
    name: "Apple (MacBook8,1)",
    source: "linux",
    quirks: ["class-code", "one-command", "single-vector"],
  },
  { id: "106b:2003", name: "Apple", source: "linux", quirks: ["class-code"] },
  {
    id: "106b:2005",
    name: "Apple T2",
    source: "linux",
    quirks: ["class-code", "cns-0-and-1", "entries-128-bytes", "shared-command-ids", "single-vector"],
  },
  {
    id: "10ec:5762",
    name: "ADATA SX6000LNP",
    source: "linux",
    quirks: ["bogus-identifiers", "bogus-subsystem-nqn"],
  },
  {
    id: "10ec:5763",
    name: "ADATA SX6000PNP, TeamGroup Cardea Zero Z330",
    source: "linux",
    quirks: ["bogus-identifiers"],
  },
  { id: "10ec:5765", name: "TeamGroup MP33", source: "linux", quirks: ["bogus-identifiers"] },
  {
    id: "1179:*",
    name: "Toshiba THNSF5256GPUK",
    model: "THNSF5256GPUK TOSHIBA",
    source: "linuxModel",
    quirks: ["no-apst"],
  },
  {
    id: "126f:1001",
    name: "Silicon Motion",
    source: "linux",
    quirks: ["bogus-subsystem-nqn", "no-deepest-power-state"],
  },
  {
    id: "126f:2262",
    name: "Silicon Motion SM2262",
    source: "linux",
    quirks: ["bogus-identifiers", "no-deepest-power-state"],
  },
  {
    id: "126f:2263",
    name: "Silicon Motion SM2263",
    source: "linux",
    quirks: ["bogus-identifiers", "no-namespace-descriptors"],
  },
  { id: "1344:5407", name: "Micron", source: "linux", quirks: ["bogus-subsystem-nqn"] },
  { id: "1344:6001", name: "Micron Nitro", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1414:b111", name: "Microsoft Hyper-V", source: "spdk", quirks: ["admin-queue-64"] },
  {
    id: "144d:*",
    name: "Samsung Portable SSD X5",
    model: "Samsung Portable SSD X5",
    source: "linuxModel",
    quirks: ["bogus-subsystem-nqn", "delay-before-ready", "no-deepest-power-state"],
  },
  { id: "144d:a802", name: "Samsung SM953", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "144d:a809", name: "Samsung MZALQ256HBJD", source: "linux", quirks: ["no-write-zeroes"] },
  {
    id: "144d:a80b",
    name: "Samsung PM9B1",
    source: "linux",
    quirks: ["bogus-identifiers", "no-write-zeroes"],
  },
  { id: "144d:a821", name: "Samsung PM1725", source: "both", quirks: ["delay-before-ready", "mqes-0-is-63"] },
  {
    id: "144d:a822",
    name: "Samsung PM1725a",
    source: "both",
    quirks: ["bogus-subsystem-nqn", "delay-before-ready", "mqes-0-is-63", "no-write-zeroes"],
  },
  { id: "144d:a826", name: "Samsung", source: "spdk", quirks: ["delay-before-ready"] },
  { id: "15b7:2001", name: "SanDisk Skyhawk", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "15b7:5008", name: "SanDisk SN530", source: "linux", quirks: ["no-msi"] },
  { id: "15b7:5009", name: "SanDisk SN550", source: "linux", quirks: ["no-deepest-power-state", "no-msi"] },
  { id: "1987:5012", name: "Phison E12", source: "linux", quirks: ["bogus-identifiers"] },
  {
    id: "1987:5016",
    name: "Phison E16",
    source: "linux",
    quirks: ["bogus-identifiers", "bogus-subsystem-nqn"],
  },
  { id: "1987:5019", name: "Phison E19", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "1987:5021", name: "Phison E21", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "19e5:*", name: "Huawei", source: "spdk", quirks: ["no-sgl"] },
  { id: "1b36:0010", name: "QEMU", source: "linux", quirks: ["bogus-identifiers"] },
  {
    id: "1b4b:1092",
    name: "Lexar 256 GB",
    source: "linux",
    quirks: ["bogus-subsystem-nqn", "no-namespace-descriptors"],
  },
  {
    id: "1bb1:0100",
    name: "Seagate Nytro",
    source: "linux",
    quirks: ["delay-before-ready", "no-namespace-descriptors"],
  },
  { id: "1c58:0003", name: "HGST", source: "linux", quirks: ["delay-before-ready"] },
  { id: "1c58:0023", name: "WDC SN200", source: "linux", quirks: ["delay-before-ready"] },
  { id: "1c5c:1504", name: "SK hynix PC400", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "1c5c:174a", name: "SK hynix P31", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1c5c:1d59", name: "SK hynix BC901", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "1c5f:0540", name: "Memblaze PBlaze4", source: "both", quirks: ["delay-before-ready"] },
  { id: "1c5f:0555", name: "Memblaze PBlaze5", source: "linux", quirks: ["no-namespace-descriptors"] },
  { id: "1cc1:33f8", name: "ADATA IM2P33F8ABR1", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1cc1:5350", name: "ADATA XPG Gammix S50", source: "linux", quirks: ["bogus-identifiers"] },
  {
    id: "1cc1:8201",
    name: "ADATA SX8200PNP",
    source: "linux",
    quirks: ["bogus-subsystem-nqn", "no-deepest-power-state"],
  },
  { id: "1cc4:6302", name: "UMIS RPJTJ256MGE1QDY", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "1cc4:6303", name: "UMIS RPJTJ512MGE1QDY", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "1d0f:0061", name: "Amazon", source: "linux", quirks: ["dma-48-bits"] },
  { id: "1d0f:0065", name: "Amazon", source: "linux", quirks: ["dma-48-bits"] },
  { id: "1d0f:8061", name: "Amazon", source: "linux", quirks: ["dma-48-bits"] },
  { id: "1d0f:cd00", name: "Amazon", source: "linux", quirks: ["dma-48-bits"] },
  { id: "1d0f:cd01", name: "Amazon", source: "linux", quirks: ["dma-48-bits"] },
  { id: "1d0f:cd02", name: "Amazon", source: "linux", quirks: ["dma-48-bits"] },
  { id: "1d1d:1f1f", name: "CNEX Labs", source: "spdk", quirks: ["cns-0-and-1"] },
  { id: "1d97:1d97", name: "Lexar NM620", source: "linux", quirks: ["bogus-identifiers"] },
  {
    id: "1d97:2263",
    name: "SPCC, Lexar NM610",
    source: "linux",
    quirks: ["bogus-identifiers", "no-write-zeroes"],
  },
  {
    id: "1d97:2269",
    name: "Lexar NM760",
    source: "linux",
    quirks: ["bogus-identifiers", "bogus-subsystem-nqn"],
  },
  { id: "1dbe:5216", name: "Innogrit IG5216, Acer FA100", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1dbe:5236", name: "ADATA XPG Gammix S70", source: "linux", quirks: ["bogus-identifiers"] },
  {
    id: "1e0f:*",
    name: "Kioxia CD6-V, HPE PE8030",
    model: "KCD6XVUL6T40",
    source: "linuxModel",
    quirks: ["no-apst"],
  },
  { id: "1e49:0021", name: "ZHITAI TiPro5000", source: "linux", quirks: ["no-deepest-power-state"] },
  { id: "1e49:0041", name: "ZHITAI TiPro7000", source: "linux", quirks: ["no-deepest-power-state"] },
  { id: "1e4b:1001", name: "MAXIO MAP1001", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1e4b:1002", name: "MAXIO MAP1002", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1e4b:1202", name: "MAXIO MAP1202", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1e4b:1602", name: "MAXIO MAP1602", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1f40:1202", name: "Netac NV3000", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1f40:5236", name: "Netac NV7000", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1fa0:2283", name: "Wodposit WPBSNM8-256GTP", source: "linux", quirks: ["no-sensor-thresholds"] },
  { id: "2646:2262", name: "Kingston KC2000", source: "linux", quirks: ["no-deepest-power-state"] },
  { id: "2646:2263", name: "Kingston A2000", source: "linux", quirks: ["no-deepest-power-state"] },
  {
    id: "2646:5013",
    name: "Kingston KC3000, Fury Renegade",
    source: "linux",
    quirks: ["no-sensor-thresholds"],
  },
  { id: "2646:5016", name: "Kingston OM3PGP4xxxxP", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "2646:5018", name: "Kingston OM8SFP4xxxxP", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "2646:501a", name: "Kingston OM8PGP4xxxxP", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "2646:501b", name: "Kingston OM8PGP4xxxxQ", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "2646:501e", name: "Kingston OM3PGP4xxxxQ", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "2646:502f", name: "Kingston OM3SGP4xxxxK", source: "linux", quirks: ["no-write-zeroes"] },
  {
    id: "8086:0953",
    name: "Intel 750, P3500, P3600, P3700",
    source: "both",
    quirks: ["deallocate-zeroes", "deep-queues", "delay-before-init", "stripe"],
  },
  {
    id: "8086:0a53",
    name: "Intel P3520",
    source: "both",
    quirks: ["deallocate-zeroes", "deep-queues", "delay-before-init", "stripe"],
  },
  {
    id: "8086:0a54",
    name: "Intel P4500, P4600",
    source: "both",
    quirks: ["bogus-identifiers", "bogus-subsystem-nqn", "deep-queues", "stripe"],
  },
  { id: "8086:0a55", name: "Dell Express Flash P4600", source: "both", quirks: ["deep-queues", "stripe"] },
  { id: "8086:0b60", name: "Intel P5500, P5600", source: "spdk", quirks: ["deep-queues", "stripe"] },
  { id: "8086:2700", name: "Intel Optane 900P, P4800X", source: "spdk", quirks: ["no-security"] },
  {
    id: "8086:5845",
    name: "QEMU (old ids)",
    source: "linux",
    quirks: ["bogus-identifiers", "cns-0-and-1", "no-write-zeroes"],
  },
  {
    id: "8086:f1a5",
    name: "Intel 600p, P3100",
    source: "linux",
    quirks: ["medium-priority", "no-deepest-power-state", "no-temperature-threshold", "no-write-zeroes"],
  },
  { id: "8086:f1a6", name: "Intel 760p, Pro 7600p", source: "linux", quirks: ["bogus-subsystem-nqn"] },
  { id: "80ee:4e56", name: "VirtualBox", source: "spdk", quirks: ["delay-after-queue"] },
  { id: "c0a9:540a", name: "Crucial P2", source: "linux", quirks: ["bogus-identifiers"] },
];
