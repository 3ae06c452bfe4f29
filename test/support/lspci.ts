/** What `lspci -vvv` prints, as flags and values, beside what a decoded configuration space says of them. */
import { execFileSync } from "node:child_process";
import { findProgram } from "../../guest/paths.js";
import type { PciCapabilityDump, PciConfigDump } from "../../src/doors/pci.js";

type Fields = Readonly<Record<string, unknown>>;
/** Finds a register's fields; those of a 64-bit register or one without fields have its `value`. */
type Registers = (name: string) => Fields;

/** A labelled part of lspci's text, with the lines that continue it. */
interface Section {
  /** Offset of its capability as lspci prints it; undefined for the header. */
  readonly at: string | undefined;
  readonly label: string;
  readonly text: string;
}

/** How lspci's words stand for fields: `token field`, in lspci's order where a token occurs twice. */
interface Meaning {
  readonly register: string;
  readonly flags?: string;
  readonly values?: readonly (readonly [RegExp, (fields: Fields, registers: Registers) => string])[];
}

const number = (field: string) => (fields: Fields) => String(fields[field]);
/** Without blanks, as lspci writes units. */
const tight = (field: string) => (fields: Fields) => String(fields[field]).replaceAll(" ", "");
const digits = (field: string) => (fields: Fields) => String(Number.parseInt(String(fields[field]), 10));
const hex =
  (register: string, length: number) =>
  (_: Fields, registers: Registers): string =>
    String(registers(register)["value"]).slice(2).padStart(length, "0");
const place = (fields: Fields): string => (Number(fields["qwordOffset"]) * 8).toString(16).padStart(8, "0");

const statusFlags =
  "66MHz mhz66, UDF userDefinable, FastB2B fastBackToBack, ParErr dataParity, >TAbort signaledTargetAbort, <TAbort receivedTargetAbort, <MAbort receivedMasterAbort, >SERR systemError, <SERR systemError, <PERR parityError";
const errors =
  "DLP dataLinkProtocol, SDES surpriseDown, TLP poisonedTlp, FCP flowControl, CmpltTO completionTimeout, CmpltAbrt completerAbort, UnxCmplt unexpectedCompletion, RxOF receiverOverflow, MalfTLP malformedTlp, ECRC ecrc, UnsupReq unsupportedRequest, ACSViol acsViolation";
const correctable =
  "RxErr receiver, BadTLP badTlp, BadDLLP badDllp, Rollover replayRollover, Timeout replayTimeout, AdvNonFatalErr advisoryNonFatal";
const services =
  "SrcValid sourceValidation, TransBlk translationBlocking, ReqRedir requestRedirect, CmpltRedir completionRedirect, UpstreamFwd upstreamForwarding, EgressCtrl egressControl, DirectTrans directTranslated";
const speed = (field: string) => (fields: Fields, _: Registers) => String(fields[field]).replace(" ", "");

/** By the name of the capability (`header` for the header) and lspci's label. */
const meanings: Readonly<Record<string, Meaning>> = {
  "header Control": {
    register: "command",
    flags:
      "I/O ioSpace, Mem memorySpace, BusMaster busMaster, SpecCycle specialCycles, MemWINV memoryWriteInvalidate, VGASnoop vgaSnoop, ParErr parityResponse, Stepping stepping, SERR serr, FastB2B fastBackToBack, DisINTx interruptDisable",
  },
  "header Status": {
    register: "status",
    flags: `Cap capabilities, ${statusFlags}, INTx interrupt`,
    values: [[/DEVSEL=(\w+)/, number("devsel")]],
  },
  "header Secondary status": {
    register: "secondaryStatus",
    flags: statusFlags,
    values: [[/DEVSEL=(\w+)/, number("devsel")]],
  },
  "header BridgeCtl": {
    register: "bridgeControl",
    flags:
      "Parity parity, SERR serr, NoISA isa, VGA vga, VGA16 vga16, MAbort masterAbort, >Reset reset, FastB2B fastBackToBack, PriDiscTmr primaryDiscardTimer, SecDiscTmr secondaryDiscardTimer, DiscTmrStat discardTimerStatus, DiscTmrSERREn discardTimerSerr",
  },
  "header Bus": {
    register: "primaryBus",
    values: [
      [/primary=(\w+)/, hex("primaryBus", 2)],
      [/secondary=(\w+)/, hex("secondaryBus", 2)],
      [/subordinate=(\w+)/, hex("subordinateBus", 2)],
    ],
  },
  "header Interrupt": { register: "interruptPin", values: [[/pin (\w)/, number("pin")]] },
  "pm Flags": {
    register: "capabilities",
    flags:
      "PMEClk pmeClock, DSI deviceSpecificInit, D1 d1, D2 d2, D0 pmeD0, D1 pmeD1, D2 pmeD2, D3hot pmeD3hot, D3cold pmeD3cold",
    values: [[/AuxCurrent=(\w+)/, tight("auxCurrent")]],
  },
  "pm Power Management version": { register: "capabilities", values: [[/version (\d)/, number("version")]] },
  "pm Status": {
    register: "control",
    flags: "NoSoftRst noSoftReset, PME-Enable pmeEnable, PME pmeStatus",
    values: [
      [/^(D\w+)/, (fields) => String(fields["state"]).replace("D3hot", "D3")],
      [/DSel=(\d+)/, number("dataSelect")],
      [/DScale=(\d+)/, number("dataScale")],
    ],
  },
  "msi MSI": {
    register: "control",
    flags: "Enable enable, Maskable maskable, 64bit is64Bit",
    values: [
      [/Count=(\d+)\//, number("enabled")],
      [/Count=\d+\/(\d+)/, number("capable")],
    ],
  },
  "msi Address": {
    register: "address",
    values: [
      [/^(\w+)/, (_, registers) => hex("addressHigh", 8)({}, registers) + hex("address", 8)({}, registers)],
      [/Data: (\w+)/, hex("data", 4)],
    ],
  },
  "msix MSI-X": {
    register: "control",
    flags: "Enable enable, Masked functionMask",
    values: [[/Count=(\d+)/, ({ lastVector }) => String(Number(lastVector) + 1)]],
  },
  "msix Vector table": {
    register: "table",
    values: [
      [/BAR=(\d)/, number("bar")],
      [/offset=(\w+)/, place],
    ],
  },
  "msix PBA": {
    register: "pending",
    values: [
      [/BAR=(\d)/, number("bar")],
      [/offset=(\w+)/, place],
    ],
  },
  "pcie Express": {
    register: "capabilities",
    flags: "Slot slot",
    values: [
      [/\(v(\d)\)/, number("version")],
      [
        /\) (Root Port|Root Complex Integrated Endpoint|Endpoint)/,
        ({ portType }) =>
          new Map([
            ["rootPort", "Root Port"],
            ["integratedEndpoint", "Root Complex Integrated Endpoint"],
            ["endpoint", "Endpoint"],
          ]).get(String(portType)) ?? "another",
      ],
      [/MSI (\w\w)$/, ({ interruptMessage }) => Number(interruptMessage).toString(16).padStart(2, "0")],
    ],
  },
  "pcie DevCap": {
    register: "deviceCapabilities",
    flags:
      "ExtTag extendedTag, AttnBtn attentionButton, AttnInd attentionIndicator, PwrInd powerIndicator, RBE roleBasedErrors, FLReset flr",
    values: [
      [/MaxPayload (\d+)/, digits("maxPayload")],
      [/PhantFunc (\d)/, number("phantomFunctions")],
      [/L0s <(\w+)/, tight("l0sLatency")],
      [/L1 <(\w+)/, tight("l1Latency")],
    ],
  },
  "pcie DevCtl": {
    register: "deviceControl",
    flags:
      "CorrErr correctable, NonFatalErr nonFatal, FatalErr fatal, UnsupReq unsupported, RlxdOrd relaxedOrdering, ExtTag extendedTag, PhantFunc phantomFunctions, AuxPwr auxPower, NoSnoop noSnoop, FLReset flrOrBridgeRetry",
    values: [
      [/MaxPayload (\d+)/, digits("maxPayload")],
      [/MaxReadReq (\d+)/, digits("maxReadRequest")],
    ],
  },
  "pcie DevSta": {
    register: "deviceStatus",
    flags:
      "CorrErr correctable, NonFatalErr nonFatal, FatalErr fatal, UnsupReq unsupported, AuxPwr auxPower, TransPend transactionsPending",
  },
  "pcie LnkCap": {
    register: "linkCapabilities",
    flags:
      "ClockPM clockPm, Surprise surpriseDown, LLActRep activeReporting, BwNot bandwidthNotification, ASPMOptComp aspmOptionality",
    values: [
      [/Port #(\d+)/, number("portNumber")],
      [/Speed ([\d.]+GT\/s)/, speed("maxSpeed")],
      [/Width x(\d+)/, number("maxWidth")],
      [/ASPM ([L01s ]+|not supported)/, ({ aspm }) => (aspm === "none" ? "not supported" : String(aspm))],
      [/Latency L0s (\S+?)(?:,|$| )/, tight("l0sExit")],
      [/L1 ([<>\d]\S+)/, tight("l1Exit")],
    ],
  },
  "pcie LnkCtl": {
    register: "linkControl",
    flags:
      "CommClk commonClock, ExtSynch extendedSynch, ClockPM clockPm, AutWidDis autonomousWidthDisable, BWInt bandwidthInterrupt, AutBWInt autonomousBandwidthInterrupt, Disabled disable",
    values: [[/RCB (\d+)/, digits("completionBoundary")]],
  },
  "pcie LnkSta": {
    register: "linkStatus",
    flags:
      "TrErr trainingError, Train training, SlotClk slotClock, DLActive active, BWMgmt bandwidthManagement, ABWMgmt autonomousBandwidth",
    values: [
      [/Speed ([\d.]+GT\/s)/, speed("speed")],
      [/Width x(\d+)/, number("width")],
    ],
  },
  "pcie SltCap": {
    register: "slotCapabilities",
    flags:
      "AttnBtn attentionButton, PwrCtrl powerController, MRL mrlSensor, AttnInd attentionIndicator, PwrInd powerIndicator, HotPlug hotPlug, Surprise hotPlugSurprise, Interlock interlock, NoCompl noCommandCompleted",
    values: [
      [/Slot #(\d+)/, number("slotNumber")],
      [
        /PowerLimit ([\d.]+)W/,
        ({ powerLimit, powerLimitScale }) => String(Number(powerLimit) * Number(powerLimitScale)),
      ],
    ],
  },
  "pcie SltCtl": {
    register: "slotControl",
    flags:
      "AttnBtn attentionButton, PwrFlt powerFault, MRL mrlSensor, PresDet presence, CmdCplt commandCompleted, HPIrq hotPlugInterrupt, LinkChg linkState, Power powerOff, Interlock interlock",
    values: [
      [/AttnInd (\w+)/, (fields) => capital(fields["attentionIndicator"])],
      [/PwrInd (\w+)/, (fields) => capital(fields["powerIndicator"])],
    ],
  },
  "pcie SltSta": {
    register: "slotStatus",
    flags:
      "AttnBtn attentionButton, PowerFlt powerFault, MRL mrlOpen, CmdCplt commandCompleted, PresDet present, Interlock interlock, MRL mrlSensor, PresDet presenceChanged, LinkState linkState",
  },
  "pcie RootCap": { register: "rootCapabilities", flags: "CRSVisible retryVisible" },
  "pcie RootCtl": {
    register: "rootControl",
    flags:
      "ErrCorrectable correctable, ErrNon-Fatal nonFatal, ErrFatal fatal, PMEIntEna pmeInterrupt, CRSVisible retryVisible",
  },
  "pcie RootSta": { register: "rootStatus", flags: "PMEStatus pme, PMEPending pmePending" },
  "pcie DevCap2": {
    register: "deviceCapabilities2",
    flags:
      "TimeoutDis timeoutDisable, NROPrPrP noRelaxedPeerWrites, LTR ltr, 10BitTagComp tenBitTagCompleter, 10BitTagReq tenBitTagRequester, ExtFmt extendedFmt, EETLPPrefix tlpPrefix, EmergencyPowerReductionInit emergencyPowerInit, FRS frs, ARIFwd ariForwarding, Routing atomicRouting, 32bit atomic32, 64bit atomic64, 128bitCAS atomic128",
    values: [[/MaxEETLPPrefixes (\d)/, number("maxTlpPrefixes")]],
  },
  "pcie DevCtl2": {
    register: "deviceControl2",
    flags:
      "TimeoutDis timeoutDisable, LTR ltr, 10BitTagReq tenBitTag, ARIFwd ariForwarding, ReqEn atomicRequester, EgressBlck atomicEgressBlock",
    values: [[/Timeout: (\w+ to \w+)/, ({ timeout }) => String(timeout).replace(/(\d) /g, "$1")]],
  },
  "pcie LnkCap2": {
    register: "linkCapabilities2",
    flags: "Crosslink crosslink, Retimer retimer, 2Retimers twoRetimers, DRS drs",
  },
  "pcie LnkCtl2": {
    register: "linkControl2",
    flags:
      "EnterCompliance enterCompliance, SpeedDis autonomousSpeedDisable, EnterModifiedCompliance modifiedCompliance, ComplianceSOS complianceSos",
    // 0 is for functions that have the lowest speed only (PCIe 6.0, 7.5.3.19).
    values: [
      [
        /Target Link Speed: ([\d.]+GT\/s)/,
        (fields, registers) =>
          fields["targetSpeed"] === 0 ? "2.5GT/s" : speed("targetSpeed")(fields, registers),
      ],
    ],
  },
  "pcie LnkSta2": {
    register: "linkStatus2",
    flags:
      "EqualizationComplete equalizationComplete, EqualizationPhase1 equalizationPhase1, EqualizationPhase2 equalizationPhase2, EqualizationPhase3 equalizationPhase3, LinkEqualizationRequest equalizationRequest, Retimer retimer, 2Retimers twoRetimers",
    values: [
      [/Level: (\S+),/, tight("deemphasis")],
      [/CrosslinkRes: (\w+)/, number("crosslink")],
    ],
  },
  "aer UESta": { register: "uncorrectableStatus", flags: errors },
  "aer UEMsk": { register: "uncorrectableMask", flags: errors },
  "aer UESvrt": { register: "uncorrectableSeverity", flags: errors },
  "aer CESta": { register: "correctableStatus", flags: correctable },
  "aer CEMsk": { register: "correctableMask", flags: correctable },
  "aer AERCap": {
    register: "control",
    flags:
      "ECRCGenCap ecrcGenerationCapable, ECRCGenEn ecrcGeneration, ECRCChkCap ecrcCheckCapable, ECRCChkEn ecrcCheck, MultHdrRecCap multipleHeadersCapable, MultHdrRecEn multipleHeaders, TLPPfxPres tlpPrefixLog, HdrLogCap timeoutLogCapable",
    values: [[/Pointer: (\w+)/, ({ firstError }) => Number(firstError).toString(16).padStart(2, "0")]],
  },
  "aer HeaderLog": {
    register: "control",
    values: [
      [
        /^(.*)$/,
        (_, registers) => [0, 1, 2, 3].map((i) => hex(`headerLog[${i}]`, 8)({}, registers)).join(" "),
      ],
    ],
  },
  "aer RootCmd": { register: "rootCommand", flags: "CERptEn correctable, NFERptEn nonFatal, FERptEn fatal" },
  "aer RootSta": {
    register: "rootStatus",
    flags:
      "CERcvd correctable, MultCERcvd multipleCorrectable, UERcvd uncorrectable, MultUERcvd multipleUncorrectable, FirstFatal firstFatal, NonFatalMsg nonFatal, FatalMsg fatal",
    values: [[/IntMsg (\d+)/, number("interruptMessage")]],
  },
  "acs ACSCap": { register: "capabilities", flags: services },
  "acs ACSCtl": { register: "control", flags: services },
  "ari ARICap": {
    register: "capabilities",
    flags: "MFVC mfvcGroups, ACS acsGroups",
    values: [[/Next Function: (\d+)/, number("nextFunction")]],
  },
  "ari ARICtl": {
    register: "control",
    flags: "MFVC mfvcGroups, ACS acsGroups",
    values: [[/Function Group: (\d+)/, number("group")]],
  },
  "sriov IOVCap": {
    register: "capabilities",
    flags: "Migration migration, 10BitTagReq tenBitTagRequester",
    values: [
      [
        /Message Number: (\d+)/,
        ({ interruptMessage }) => Number(interruptMessage).toString(16).padStart(3, "0"),
      ],
    ],
  },
  "sriov IOVCtl": {
    register: "control",
    flags:
      "Enable enable, Migration migration, Interrupt migrationInterrupt, MSE memorySpace, ARIHierarchy ari, 10BitTagReq tenBitTagRequester",
  },
  "sriov IOVSta": { register: "status", flags: "Migration migration" },
  "sriov Initial VFs": {
    register: "initialVfs",
    values: [
      [/^(\d+)/, (_, registers) => String(Number(registers("initialVfs")["value"]))],
      [/Total VFs: (\d+)/, (_, registers) => String(Number(registers("totalVfs")["value"]))],
      [/Number of VFs: (\d+)/, (_, registers) => String(Number(registers("vfs")["value"]))],
    ],
  },
  "sriov VF offset": {
    register: "firstVfOffset",
    values: [
      [/^(\d+)/, (_, registers) => String(Number(registers("firstVfOffset")["value"]))],
      [/stride: (\d+)/, (_, registers) => String(Number(registers("vfStride")["value"]))],
      [/Device ID: (\w+)/, hex("vfDeviceId", 4)],
    ],
  },
  "sriov Supported Page Size": {
    register: "supportedPageSizes",
    values: [
      [/^(\w+)/, hex("supportedPageSizes", 8)],
      [/System Page Size: (\w+)/, hex("pageSize", 8)],
    ],
  },
  "dsn Device Serial Number": {
    register: "serial",
    values: [
      [/Number (\S+)$/, (_, registers) => hex("serial", 16)({}, registers).replace(/(..)(?=.)/g, "$1-")],
    ],
  },
};

function capital(value: unknown): string {
  const text = String(value);
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function sectionsOf(bdf: string): Section[] {
  const path = findProgram("lspci", "/usr/sbin:/sbin:/usr/bin:/bin") ?? "lspci";
  // Names of vendors differ from host to host.
  const text = execFileSync(path, ["-vvv", "-D", "-s", bdf], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const sections: Section[] = [];
  let at: string | undefined;
  for (const line of text.split("\n").slice(1)) {
    const start = /^\tCapabilities: \[([0-9a-f]+)(?: v\d+)?\] (.*)$/.exec(line);
    const labelled = /^\t\t?([^\s:][^:]*):\s*(.*)$/.exec(line);
    if (start !== null) {
      at = start[1];
      const title = start[2] ?? "";
      sections.push({ at, label: title, text: title });
    } else if (labelled !== null && !/^\t\t\t|^\t\t /.test(line)) {
      if (!line.startsWith("\t\t")) at = undefined;
      sections.push({ at, label: labelled[1] ?? "", text: labelled[2] ?? "" });
    } else {
      const last = sections.pop();
      if (last !== undefined) sections.push({ ...last, text: `${last.text} ${line.trim()}` });
    }
  }
  return sections;
}

function registersOf(dump: readonly PciCapabilityDump["registers"][number][]): Registers {
  return (name) => {
    const found = dump.find((each) => each.name === name);
    return found === undefined ? {} : { ...found.fields, value: found.value };
  };
}

/** How many flags and values were compared, and those that differ. */
export interface Comparison {
  readonly compared: number;
  readonly differences: readonly string[];
  /** Parts of lspci's text that this table doesn't know. */
  readonly unknown: readonly string[];
}

/** Compares each flag and value that lspci prints of a function with its decoded configuration space. */
export function compareWithLspci(bdf: string, dump: PciConfigDump): Comparison {
  const differences: string[] = [];
  const unknown: string[] = [];
  let compared = 0;
  const check = (what: string, theirs: string, ours: string): void => {
    compared++;
    if (theirs !== ours) differences.push(`${bdf} ${what}: lspci says ${theirs}, iova ${ours}`);
  };
  for (const { at, label, text } of sectionsOf(bdf)) {
    const capability = dump.capabilities.find(({ offset }) => offset === Number.parseInt(at ?? "0", 16));
    const name = at === undefined ? "header" : (capability?.name ?? "unknown");
    const key = Object.keys(meanings).find((each) => each === `${name} ${label}`) ?? titleKey(name, label);
    const meaning = key === undefined ? undefined : meanings[key];
    if (meaning === undefined) {
      unknown.push(`${name} ${label}`);
      continue;
    }
    const registers = registersOf(at === undefined ? dump.header : (capability?.registers ?? []));
    const fields = registers(meaning.register);
    const known = (meaning.flags ?? "").split(", ").map((each) => each.split(" "));
    for (const [, flag = "", sign = ""] of text.matchAll(/([<>]?[\w/]+(?:-\w+)*)([+-])(?=[\s,;)(]|$)/g)) {
      const found = known.findIndex(([token]) => token === flag);
      const [, field = ""] = found < 0 ? [] : (known.splice(found, 1)[0] ?? []);
      if (field === "") unknown.push(`${key} ${flag}`);
      else
        check(
          `${key} ${flag}`,
          sign,
          fields[field] === true ? "+" : fields[field] === false ? "-" : "nothing",
        );
    }
    for (const [pattern, ours] of meaning.values ?? []) {
      const theirs = pattern.exec(text)?.[1];
      if (theirs !== undefined) check(`${key} ${String(pattern)}`, theirs.trim(), ours(fields, registers));
    }
  }
  return { compared, differences, unknown };
}

/** The line of a capability begins with its title. */
function titleKey(name: string, label: string): string | undefined {
  return Object.keys(meanings).find(
    (each) => each.startsWith(`${name} `) && label.startsWith(each.slice(name.length + 1)),
  );
}
