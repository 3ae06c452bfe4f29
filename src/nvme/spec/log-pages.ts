/** Log pages: NVMe Base 2.x, section "Get Log Page command". */
import { array, ascii, u8, u16, u32, u64 } from "../../sys/struct.js";
import { at, record, u128 } from "./record.js";

/** Entry of the Error Information log (LID 01h). */
export const errorLogEntry = record("Error Information Log Entry", 64, {
  errorCount: at(0, u64),
  sqid: at(8, u16),
  cid: at(10, u16),
  /** As in DW3 bits 31:16 of a completion: phase in bit 0, status above it. */
  status: at(12, u16),
  parameterErrorLocation: at(14, u16),
  lba: at(16, u64),
  nsid: at(24, u32),
  vendorSpecific: at(28, u8),
  trtype: at(29, u8),
  csi: at(30, u8),
  opcode: at(31, u8),
  commandSpecific: at(32, u64),
});
export type ErrorLogEntry = ReturnType<typeof errorLogEntry.decode>;

/** SMART / Health Information (LID 02h). Temperatures in kelvin, data units of 512,000 bytes, times in minutes. */
export const smartLog = record("SMART / Health Information Log", 512, {
  criticalWarning: at(0, u8),
  compositeTemperature: at(1, u16),
  availableSpare: at(3, u8),
  availableSpareThreshold: at(4, u8),
  percentageUsed: at(5, u8),
  enduranceGroupCriticalWarning: at(6, u8),
  dataUnitsRead: at(32, u128),
  dataUnitsWritten: at(48, u128),
  hostReadCommands: at(64, u128),
  hostWriteCommands: at(80, u128),
  controllerBusyTime: at(96, u128),
  powerCycles: at(112, u128),
  powerOnHours: at(128, u128),
  unsafeShutdowns: at(144, u128),
  mediaErrors: at(160, u128),
  errorLogEntries: at(176, u128),
  warningTemperatureTime: at(192, u32),
  criticalTemperatureTime: at(196, u32),
  temperatureSensors: at(200, array(u16, 8)),
});
export type SmartLog = ReturnType<typeof smartLog.decode>;

/** SMART critical warning bits. */
export const CriticalWarning = { spare: 1, temperature: 2, reliability: 4, readOnly: 8, backup: 16 } as const;

/** Firmware Slot Information (LID 03h). */
export const firmwareSlotLog = record("Firmware Slot Information Log", 512, {
  afi: at(0, u8),
  frs: at(8, array(ascii(8), 7)),
});

/** Commands Supported and Effects (LID 05h): one word per opcode. */
export const commandEffectsLog = record("Commands Supported and Effects Log", 4096, {
  acs: at(0, array(u32, 256)),
  iocs: at(1024, array(u32, 256)),
});

/** Bits of a word of the Commands Supported and Effects log. */
export const CommandEffects = {
  /** Command supported. */
  CSUPP: 1 << 0,
  /** Logical block content change. */
  LBCC: 1 << 1,
  /** Namespace capability change. */
  NCC: 1 << 2,
  /** Namespace inventory change. */
  NIC: 1 << 3,
} as const;
