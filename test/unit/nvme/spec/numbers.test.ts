/** Numbers under names: codes, actions and types, as the figures of the NVMe specifications have them. */
import { expect, test } from "vitest";
import * as nvme from "../../../../src/doors/nvme.js";

test.each<[figure: string, actual: object, expected: object]>([
  ["directive types", nvme.DirectiveType, { identify: 0, streams: 1, dataPlacement: 2 }],
  [
    "Firmware Commit, CA",
    nvme.FirmwareAction,
    {
      replace: 0b000,
      replaceAndActivate: 0b001,
      activate: 0b010,
      activateNow: 0b011,
      replaceBootPartition: 0b110,
      activateBootPartition: 0b111,
    },
  ],
  [
    "Lockdown, SCP",
    nvme.LockdownScope,
    { adminOpcode: 0x0, feature: 0x2, managementOpcode: 0x3, managementPcieOpcode: 0x4 },
  ],
  [
    "Lockdown, IFC",
    nvme.LockdownInterface,
    { adminQueue: 0b00, adminQueueAndOutOfBand: 0b01, outOfBand: 0b10 },
  ],
  [
    "Namespace Write Protection Config, WPS",
    nvme.WriteProtection,
    { none: 0b000, protected: 0b001, untilPowerCycle: 0b010, permanent: 0b011 },
  ],
  [
    "Namespace Identification Descriptor, NIDT and NIDL",
    nvme.NamespaceDescriptor,
    {
      eui64: { type: 0x1, bytes: 0x8 },
      nguid: { type: 0x2, bytes: 0x10 },
      uuid: { type: 0x3, bytes: 0x10 },
      commandSet: { type: 0x4, bytes: 0x1 },
    },
  ],
  [
    "Commands Supported and Effects, bits 4:0",
    nvme.CommandEffects,
    { CSUPP: 1, LBCC: 2, NCC: 4, NIC: 8, CCC: 16 },
  ],
  [
    "SMART / Health Information, Critical Warning",
    nvme.CriticalWarning,
    {
      spare: 0x1,
      temperature: 0x2,
      reliability: 0x4,
      readOnly: 0x8,
      backup: 0x10,
      persistentMemoryReadOnly: 0x20,
    },
  ],
  [
    "Persistent Event Log event types",
    nvme.PersistentEventType,
    {
      smart: 0x01,
      firmwareCommit: 0x02,
      timestampChange: 0x03,
      powerOnOrReset: 0x04,
      hardwareError: 0x05,
      changeNamespace: 0x06,
      formatStart: 0x07,
      formatCompletion: 0x08,
      sanitizeStart: 0x09,
      sanitizeCompletion: 0x0a,
      setFeature: 0x0b,
      telemetryCreated: 0x0c,
      thermalExcursion: 0x0d,
      sanitizeMediaVerification: 0x0e,
      vendor: 0xde,
      tcg: 0xdf,
    },
  ],
  [
    "Reservation Notification Log page types",
    nvme.ReservationNotification,
    { empty: 0, registrationPreempted: 1, reservationReleased: 2, reservationPreempted: 3 },
  ],
  [
    "asynchronous event types",
    nvme.AsyncEventType,
    { error: 0, smart: 1, notice: 2, immediate: 3, oneShot: 4, ioCommandSet: 6, vendor: 7 },
  ],
  ["command set identifiers", nvme.CommandSet, { nvm: 0x00, keyValue: 0x01, zoned: 0x02 }],
  [
    "Get Features, SEL",
    nvme.FeatureSelect,
    { current: 0b000, default: 0b001, saved: 0b010, supported: 0b011 },
  ],
  ["Zone Management Receive, ZRA", nvme.ZoneReceiveAction, { report: 0x00, extendedReport: 0x01 }],
  [
    "Create I/O Queue, CDW11: PC, IEN and QPRIO",
    nvme.QueueFlag,
    { contiguous: 0b001, interruptsEnabled: 0b010, PRIORITY_SHIFT: 1 },
  ],
  [
    "Create I/O Submission Queue, QPRIO",
    nvme.QueuePriority,
    { urgent: 0b00, high: 0b01, medium: 0b10, low: 0b11 },
  ],
  ["Controller Configuration, AMS", nvme.ArbitrationMechanism, { roundRobin: 0b000, weighted: 0b001 }],
  [
    "Controller Configuration, CSS",
    nvme.CommandSetSelection,
    { nvm: 0b000, allSupported: 0b110, adminOnly: 0b111 },
  ],
  [
    "status code types",
    nvme.StatusCodeType,
    { generic: 0, commandSpecific: 1, mediaAndDataIntegrity: 2, pathRelated: 3, vendorSpecific: 7 },
  ],
  ["Virtualization Management, RT", nvme.ResourceType, { queues: 0b000, interrupts: 0b001 }],
  [
    "Virtualization Management, ACT",
    nvme.VirtualizationAction,
    { primaryFlexibleAllocation: 0x1, secondaryOffline: 0x7, secondaryAssign: 0x8, secondaryOnline: 0x9 },
  ],
  [
    "Sanitize, SANACT",
    nvme.SanitizeAction,
    { exitFailure: 1, blockErase: 2, overwrite: 3, cryptoErase: 4, exitVerification: 5 },
  ],
  ["Cancel, ACODE", nvme.CancelAction, { single: 0b00, multiple: 0b01 }],
  [
    "Management Address Descriptor, MAT",
    nvme.ManagementAddressType,
    { subsystemAgent: 1, fabricManager: 2, end: 0xff },
  ],
  ["Format NVM, SES", nvme.SecureErase, { none: 0b000, userData: 0b001, cryptographic: 0b010 }],
])("%s has the specification's values", (_figure, actual, expected) => {
  expect(actual).toEqual(expected);
});

test("bits of CDW12 that reads and writes share are where the NVM Command Set has them", () => {
  const bits = {
    LR: nvme.IO_LIMITED_RETRY >>> 0,
    FUA: nvme.IO_FUA,
    PRACT: nvme.IO_PRACT,
    guard: nvme.IO_PRCHK_GUARD,
    application: nvme.IO_PRCHK_APP,
    reference: nvme.IO_PRCHK_REF,
    DEAC: nvme.IO_DEAC,
  };
  expect(bits).toEqual({
    LR: 0x8000_0000,
    FUA: 0x4000_0000,
    PRACT: 0x2000_0000,
    guard: 0x1000_0000,
    application: 0x800_0000,
    reference: 0x400_0000,
    DEAC: 0x200_0000,
  });
});
