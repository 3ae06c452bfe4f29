/** Format NVM, Sanitize and Device Self-test. */
import { checkInteger, checkKeys, checkName, checkU32, lookUp } from "../../core/check.js";
import { UnsupportedError } from "../../core/errors.js";
import { type AdminTarget, requireCommands } from "../command/admin-target.js";
import type { CommandOptions } from "../command/command-options.js";
import { whereSupported } from "../command/supported.js";
import { decodeBits, Fna, Sanicap } from "../spec/capabilities.js";
import { SelfTestCode } from "../spec/log-pages.js";
import { AdminOpcode, BROADCAST_NSID } from "../spec/opcodes.js";

/** Format NVM, CDW10 bits 11:9 (SES). */
export const SecureErase = {
  /** No secure erase. */
  none: 0,
  /** User data erase. */
  userData: 1,
  /** Cryptographic erase: deletes the encryption key. */
  cryptographic: 2,
} as const;

/** Options of {@link NvmeMaintenance.format}. */
export interface FormatOptions extends CommandOptions {
  /** Index of the LBA format, 0 to 63; 0 by default. */
  readonly lbaFormat?: number | undefined;
  /** Metadata is interleaved with the data instead of having its own buffer (MSET). */
  readonly metadataExtended?: boolean | undefined;
  /** Type of protection information (PI); 0 (default): none. */
  readonly protection?: 0 | 1 | 2 | 3 | undefined;
  /** Protection information is in the first bytes of the metadata (PIL). */
  readonly protectionFirst?: boolean | undefined;
  /** Secure erase of the user data (SES); none by default. */
  readonly secureErase?: keyof typeof SecureErase | undefined;
}

/** Sanitize, CDW10 bits 2:0 (SANACT). */
export const SanitizeAction = {
  /** Exit failure mode: makes a controller usable after a failed sanitize. */
  exitFailure: 1,
  /** Block erase. */
  blockErase: 2,
  /** Overwrite with a pattern. */
  overwrite: 3,
  /** Crypto erase: deletes the encryption keys. */
  cryptoErase: 4,
  /** Exit the media verification state. */
  exitVerification: 5,
} as const;

/** A sanitize action that a single namespace has. */
export type NamespaceSanitizeAction = "exitFailure" | "cryptoErase" | "exitVerification";
const namespaceActions: readonly NamespaceSanitizeAction[] = [
  "exitFailure",
  "cryptoErase",
  "exitVerification",
];

/** Options of {@link NvmeMaintenance.sanitize}. */
export interface SanitizeOptions {
  /** Allows exitFailure after a failure, without another sanitize (AUSE). */
  readonly allowUnrestrictedExit?: boolean | undefined;
  /** Doesn't deallocate the blocks afterwards (NDAS). */
  readonly noDeallocate?: boolean | undefined;
  /** Enters the media verification state when done (EMVS). */
  readonly verification?: boolean | undefined;
  /** For overwrite: number of passes, 1 (default) to 16 (OWPASS). */
  readonly passes?: number | undefined;
  /** For overwrite: the pattern, 32 bits; 0 by default (OVRPAT). */
  readonly pattern?: number | undefined;
  /** For overwrite: inverts the pattern with each pass (OIPBP). */
  readonly invert?: boolean | undefined;
}

const formatOptions: readonly (keyof FormatOptions)[] = [
  "timeoutMs",
  "signal",
  "lbaFormat",
  "metadataExtended",
  "protection",
  "protectionFirst",
  "secureErase",
];
const sanitizeOptions: readonly (keyof SanitizeOptions)[] = [
  "allowUnrestrictedExit",
  "noDeallocate",
  "verification",
  "passes",
  "pattern",
  "invert",
];

/** Time limit of Format NVM, whose duration depends on the medium. */
const FORMAT_TIMEOUT_MS = 600_000;
const NO_DEALLOCATE = 1 << 9;

/** Commands that erase and test: Format NVM, Sanitize, Device Self-test. */
export class NvmeMaintenance {
  constructor(private readonly target: AdminTarget) {}

  /**
   * Format NVM: erases a namespace and sets its format. An {@link NvmeNamespace} opened before has the old format.
   * @param nsid FFFFFFFFh: all namespaces
   * @throws UnsupportedError (no Format NVM, not for all namespaces, no cryptographic erase), ArgumentError,
   *   NvmeError (Invalid Format, ...), TimeoutError (ten minutes by default), DeviceGoneError, ClosedError
   */
  async format(nsid: number, options: FormatOptions = {}): Promise<void> {
    const { target } = this;
    checkKeys("options", options, formatOptions);
    requireCommands(target, "format");
    checkU32("nsid", nsid);
    const { lbaFormat = 0, protection = 0, secureErase = "none", timeoutMs = FORMAT_TIMEOUT_MS } = options;
    checkInteger("lbaFormat", lbaFormat, 0, 63);
    checkInteger("protection", protection, 0, 3);
    const erase = lookUp("secureErase", secureErase, SecureErase);
    const fna = decodeBits(target.identify.fna, Fna);
    if (erase === SecureErase.cryptographic && !fna.cryptographicErase) {
      throw new UnsupportedError(`${target.bdf} doesn't support a cryptographic erase (FNA)`);
    }
    if (nsid === BROADCAST_NSID && fna.noBroadcast) {
      throw new UnsupportedError(
        `${target.bdf} can't format all namespaces at once (FNA): format each by its id`,
      );
    }
    const cdw10 =
      (lbaFormat & 0xf) |
      (options.metadataExtended === true ? 1 << 4 : 0) |
      (protection << 5) |
      (options.protectionFirst === true ? 1 << 8 : 0) |
      (erase << 9) |
      ((lbaFormat >>> 4) << 12);
    const command = { name: `Format NVM (nsid ${nsid})`, opcode: AdminOpcode.formatNvm, nsid, cdw10 };
    await target.admin(command, { timeoutMs, signal: options.signal });
  }

  /**
   * Sanitize: starts to erase everything in the subsystem. logs.sanitize() reports the progress. The operation continues
   * over resets and power cycles.
   * @throws UnsupportedError (the controller doesn't have this action), ArgumentError, NvmeError, TimeoutError,
   *   DeviceGoneError, ClosedError
   */
  async sanitize(action: keyof typeof SanitizeAction, options: SanitizeOptions = {}): Promise<void> {
    const { target } = this;
    const code = lookUp("action", action, SanitizeAction);
    checkKeys("options", options, sanitizeOptions);
    const { passes = 1, pattern = 0 } = options;
    checkInteger("passes", passes, 1, 16);
    checkU32("pattern", pattern);
    const can = decodeBits(target.identify.sanicap, Sanicap);
    const isThere = {
      exitFailure: can.cryptoErase || can.blockErase || can.overwrite,
      blockErase: can.blockErase,
      overwrite: can.overwrite,
      cryptoErase: can.cryptoErase,
      exitVerification: can.mediaVerification,
    }[action];
    if (!isThere) {
      throw new UnsupportedError(`${target.bdf} doesn't support the sanitize action ${action} (SANICAP)`);
    }
    const isOverwrite = code === SanitizeAction.overwrite;
    const cdw10 =
      code |
      (options.allowUnrestrictedExit === true ? 1 << 3 : 0) |
      // The field has 4 bits: 0 stands for 16 passes.
      (isOverwrite ? (passes & 0xf) << 4 : 0) |
      (isOverwrite && options.invert === true ? 1 << 8 : 0) |
      (options.noDeallocate === true ? NO_DEALLOCATE : 0) |
      (options.verification === true ? 1 << 10 : 0);
    await target.admin({
      name: `Sanitize (${action})`,
      opcode: AdminOpcode.sanitize,
      cdw10,
      cdw11: isOverwrite ? pattern : 0,
    });
  }

  /**
   * Sanitize Namespace (NVMe 2.1): starts to erase one namespace. It has fewer actions than Sanitize.
   * @throws UnsupportedError (the controller lacks the command), ArgumentError, NvmeError, TimeoutError, DeviceGoneError,
   *   ClosedError
   */
  async sanitizeNamespace(
    nsid: number,
    action: NamespaceSanitizeAction,
    options: Pick<SanitizeOptions, "allowUnrestrictedExit" | "verification"> = {},
  ): Promise<void> {
    const { target } = this;
    checkInteger("nsid", nsid, 1, BROADCAST_NSID - 1);
    checkKeys("options", options, ["allowUnrestrictedExit", "verification"]);
    const name = checkName("action", action, namespaceActions);
    const command = {
      name: `Sanitize Namespace (${name}, nsid ${nsid})`,
      opcode: AdminOpcode.sanitizeNamespace,
      nsid,
      cdw10:
        SanitizeAction[name] |
        (options.allowUnrestrictedExit === true ? 1 << 3 : 0) |
        (options.verification === true ? 1 << 10 : 0),
    };
    await whereSupported(`${target.bdf} has no Sanitize Namespace command`, () => target.admin(command));
  }

  /**
   * Device Self-test: starts a test, or aborts the one that runs (`abort`). logs.selfTest() has the results.
   * @param nsid 0: the controller alone; FFFFFFFFh (default): the controller and all its namespaces
   * @throws UnsupportedError, ArgumentError, NvmeError (a test is running), TimeoutError, DeviceGoneError, ClosedError
   */
  async selfTest(code: keyof typeof SelfTestCode, nsid: number = BROADCAST_NSID): Promise<void> {
    requireCommands(this.target, "deviceSelfTest");
    checkU32("nsid", nsid);
    const stc = lookUp("code", code, SelfTestCode);
    await this.target.admin({
      name: `Device Self-test (${code})`,
      opcode: AdminOpcode.deviceSelfTest,
      nsid,
      cdw10: stc,
    });
  }
}
