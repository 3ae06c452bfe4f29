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
  { id: "10ec:5762", name: "ADATA SX6000LNP", source: "linux", quirks: ["bogus-identifiers"] },
  {
    id: "10ec:5763",
    name: "ADATA SX6000PNP, TeamGroup Cardea Zero Z330",
    source: "linux",
    quirks: ["bogus-identifiers"],
  },
  { id: "10ec:5765", name: "TeamGroup MP33", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "126f:2262", name: "Silicon Motion SM2262", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "126f:2263", name: "Silicon Motion SM2263", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1344:6001", name: "Micron Nitro", source: "linux", quirks: ["bogus-identifiers"] },
  {
    id: "144d:*",
    name: "Samsung Portable SSD X5",
    model: "Samsung Portable SSD X5",
    source: "linuxModel",
    quirks: ["delay-before-ready"],
  },
  { id: "144d:a802", name: "Samsung SM953", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "144d:a809", name: "Samsung MZALQ256HBJD", source: "linux", quirks: ["no-write-zeroes"] },
  {
    id: "144d:a80b",
    name: "Samsung PM9B1",
    source: "linux",
    quirks: ["bogus-identifiers", "no-write-zeroes"],
  },
  { id: "144d:a821", name: "Samsung PM1725", source: "both", quirks: ["delay-before-ready"] },
  {
    id: "144d:a822",
    name: "Samsung PM1725a",
    source: "both",
    quirks: ["delay-before-ready", "no-write-zeroes"],
  },
  { id: "144d:a826", name: "Samsung", source: "spdk", quirks: ["delay-before-ready"] },
  { id: "15b7:2001", name: "SanDisk Skyhawk", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "1987:5012", name: "Phison E12", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1987:5016", name: "Phison E16", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1987:5019", name: "Phison E19", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "1987:5021", name: "Phison E21", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "1b36:0010", name: "QEMU", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1bb1:0100", name: "Seagate Nytro", source: "linux", quirks: ["delay-before-ready"] },
  { id: "1c58:0003", name: "HGST", source: "linux", quirks: ["delay-before-ready"] },
  { id: "1c58:0023", name: "WDC SN200", source: "linux", quirks: ["delay-before-ready"] },
  { id: "1c5c:1504", name: "SK hynix PC400", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "1c5c:174a", name: "SK hynix P31", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1c5c:1d59", name: "SK hynix BC901", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "1c5f:0540", name: "Memblaze PBlaze4", source: "both", quirks: ["delay-before-ready"] },
  { id: "1cc1:33f8", name: "ADATA IM2P33F8ABR1", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1cc1:5350", name: "ADATA XPG Gammix S50", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1cc4:6302", name: "UMIS RPJTJ256MGE1QDY", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "1cc4:6303", name: "UMIS RPJTJ512MGE1QDY", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "1d97:1d97", name: "Lexar NM620", source: "linux", quirks: ["bogus-identifiers"] },
  {
    id: "1d97:2263",
    name: "SPCC, Lexar NM610",
    source: "linux",
    quirks: ["bogus-identifiers", "no-write-zeroes"],
  },
  { id: "1d97:2269", name: "Lexar NM760", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1dbe:5216", name: "Innogrit IG5216, Acer FA100", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1dbe:5236", name: "ADATA XPG Gammix S70", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1e4b:1001", name: "MAXIO MAP1001", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1e4b:1002", name: "MAXIO MAP1002", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1e4b:1202", name: "MAXIO MAP1202", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1e4b:1602", name: "MAXIO MAP1602", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1f40:1202", name: "Netac NV3000", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "1f40:5236", name: "Netac NV7000", source: "linux", quirks: ["bogus-identifiers"] },
  { id: "2646:5016", name: "Kingston OM3PGP4xxxxP", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "2646:5018", name: "Kingston OM8SFP4xxxxP", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "2646:501a", name: "Kingston OM8PGP4xxxxP", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "2646:501b", name: "Kingston OM8PGP4xxxxQ", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "2646:501e", name: "Kingston OM3PGP4xxxxQ", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "2646:502f", name: "Kingston OM3SGP4xxxxK", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "8086:0a54", name: "Intel P4500, P4600", source: "both", quirks: ["bogus-identifiers"] },
  {
    id: "8086:5845",
    name: "QEMU (old ids)",
    source: "linux",
    quirks: ["bogus-identifiers", "no-write-zeroes"],
  },
  { id: "8086:f1a5", name: "Intel 600p, P3100", source: "linux", quirks: ["no-write-zeroes"] },
  { id: "c0a9:540a", name: "Crucial P2", source: "linux", quirks: ["bogus-identifiers"] },
];
