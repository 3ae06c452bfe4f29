/** `iova nvme get-lba-status`, `lba-status-log`, `boot-part-log`, `nvme-mi-recv`, `io-mgmt-recv`, ... */
import { flag, value } from "../description.js";
import { changes, namespaceOption, reads } from "./common.js";

const management = {
  opcode: value("N", "opcode of NVMe-MI", { short: "O" }),
  "namespace-id": value("N", "namespace (default 0)", { short: "n" }),
  nmimt: value("N", "message type: 0 control primitive, 1 NVMe-MI command, ... (default 1)", { short: "m" }),
  nmd0: value("N", "management dword 0", { short: "0" }),
  nmd1: value("N", "management dword 1", { short: "1" }),
} as const;
const operation = {
  "namespace-id": namespaceOption,
  mo: value("N", "management operation (default 0)", { short: "m" }),
  mos: value("N", "what is specific to it (default 0)", { short: "s" }),
} as const;
const received = {
  "data-len": value("BYTES", "bytes to receive (default 4096)", { short: "l" }),
  "raw-binary": flag("write them unchanged", "b"),
} as const;

export const dataDescriptions = {
  lbaStatus: reads("get-lba-status", "blocks that may be unreadable, or that are tracked", {
    options: {
      "namespace-id": namespaceOption,
      "start-lba": value("N", "first block (default 0)", { short: "s" }),
      "max-dw": value("N", "dwords to receive, zero-based (default 1023)", { short: "m" }),
      action: value("N", "16 looks for blocks now, 17 tells those known (default 17)", { short: "a" }),
      "range-len": value("N", "blocks to look at (default 0: all)", { short: "l" }),
    },
    example: ["-a 17", "prints what is known"],
  }),
  lbaStatusLog: reads("lba-status-log", "where get-lba-status would find something", {
    options: { rae: flag("keep the event", "r") },
    example: ["", "prints it"],
  }),
  bootPartition: reads("boot-part-log", "a boot partition: its size, and its content to a file", {
    options: {
      lsp: value("N", "0 or 1: which (default 0)", { short: "s" }),
      "output-file": value("FILE", "where its content goes", { short: "f", offer: "file" }),
      registers: flag("read it by registers: before NVMe 2.0 there was no log page"),
    },
    example: ["-f boot.bin", "writes boot partition 0 to a file"],
  }),
  managementReceive: reads("nvme-mi-recv", "NVMe-MI Receive", {
    needs: "-O N",
    options: { ...management, ...received },
    example: ["-O 1 --nmd0 0x0 -l 32", "NVM Subsystem Health Status Poll"],
  }),
  managementSend: changes("nvme-mi-send", "NVMe-MI Send", {
    needs: "-O N",
    options: { ...management, "input-file": value("FILE", "data to send", { short: "i", offer: "file" }) },
    example: ["-O 3 --nmd0 0x0", "Configuration Set"],
  }),
  ioReceive: reads("io-mgmt-recv", "I/O Management Receive", {
    options: {
      ...operation,
      ...received,
      data: value("FILE", "where to", { short: "d", offer: "file" }),
    },
    example: ["-m 1", "reclaim unit handles"],
  }),
  ioSend: changes("io-mgmt-send", "I/O Management Send", {
    options: {
      ...operation,
      data: value("FILE", "data to send", { short: "d", offer: "file" }),
      "data-len": value("BYTES", "send only the first of it", { short: "l" }),
    },
    example: ["-m 1 -d handles.bin", "has the controller take other reclaim units"],
  }),
};
