import { checkInteger, checkU32 } from "../../core/check.js";
import { ArgumentError, UnsupportedError } from "../../core/errors.js";
import { type AdminTarget, requireCommands } from "../command/admin-target.js";
import type { CommandOptions } from "../command/command-options.js";
import { decodeBits, Fna, Sanicap } from "../spec/capabilities.js";
import { SelfTestCode } from "../spec/log-pages.js";
import { AdminOpcode, BROADCAST_NSID } from "../spec/opcodes.js";

/** Format NVM, CDW10 bits 11:9 (SES). */
export const SecureErase = { none: 0, userData: 1, cryptographic: 2 } as const;

/** Options of {@link NvmeMaintenance.format}. */
export interface FormatOptions extends CommandOptions {
  /** Index of the LBA format, 0 to 63. */
  readonly lbaFormat?: number | undefined;
  /** Metadata follows the data of each block, instead of having a buffer of its own (MSET). */
  readonly metadataExtended?: boolean | undefined;
  /** Type of protection information, 0 is none (PI). */
  readonly protection?: 0 | 1 | 2 | 3 | undefined;
  /** Protection information in the first bytes of the metadata (PIL). */
  readonly protectionFirst?: boolean | undefined;
  readonly secureErase?: keyof typeof SecureErase | undefined;
}

/** Sanitize, CDW10 bits 2:0 (SANACT). */
export const SanitizeAction = {
  exitFailure: 1,
  blockErase: 2,
  overwrite: 3,
  cryptoErase: 4,
  exitVerification: 5,
} as const;

/** Options of {@link NvmeMaintenance.sanitize}. */
export interface SanitizeOptions {
  /** After a failure the controller may be used again without another sanitize (AUSE). */
  readonly allowUnrestrictedExit?: boolean | undefined;
  /** Leave the blocks allocated (NDAS). */
  readonly noDeallocate?: boolean | undefined;
  /** Stop for verification of the media when done (EMVS). */
  readonly verification?: boolean | undefined;
  /** Of overwrite: 1 to 16 passes. */
  readonly passes?: number | undefined;
  /** Of overwrite: what is written, 32 bits. */
  readonly pattern?: number | undefined;
  /** Of overwrite: the pattern inverted with each pass (OIPBP). */
  readonly invert?: boolean | undefined;
}

/** Formatting takes as long as the medium. */
const FORMAT_TIMEOUT_MS = 600_000;
const NO_DEALLOCATE = 1 << 9;

/** Commands that erase and test: Format NVM, Sanitize, Device Self-test. */
export class NvmeMaintenance {
  constructor(private readonly target: AdminTarget) {}

  /**
   * Format NVM: erases a namespace and gives it a format. An {@link NvmeNamespace} made before doesn't know the new one.
   * @param nsid FFFFFFFFh: all namespaces
   * @throws UnsupportedError (not this controller, not for all namespaces, no cryptographic erase), ArgumentError,
   *   NvmeError (Invalid Format, ...), TimeoutError (ten minutes by default), DeviceGoneError, ClosedError
   */
  async format(nsid: number, options: FormatOptions = {}): Promise<void> {
    const { target } = this;
    requireCommands(target, "format");
    checkU32("nsid", nsid);
    const { lbaFormat = 0, protection = 0, secureErase = "none", timeoutMs = FORMAT_TIMEOUT_MS } = options;
    checkInteger("lbaFormat", lbaFormat, 0, 63);
    checkInteger("protection", protection, 0, 3);
    const erase = SecureErase[secureErase];
    if (erase === undefined) {
      throw new ArgumentError(`secureErase must be one of ${Object.keys(SecureErase).join(", ")}`);
    }
    const fna = decodeBits(target.identify.fna, Fna);
    if (erase === SecureErase.cryptographic && !fna.cryptographicErase) {
      throw new UnsupportedError(`${target.bdf} has no cryptographic erase`);
    }
    if (nsid === BROADCAST_NSID && fna.noBroadcast) {
      throw new UnsupportedError(`${target.bdf} formats one namespace at a time`);
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
   * Sanitize: begins to erase everything in the subsystem. It is done when logs.sanitize() says so, and goes on over resets
   * and power cycles.
   * @throws UnsupportedError (not this controller, not this action), ArgumentError, NvmeError, TimeoutError,
   *   DeviceGoneError, ClosedError
   */
  async sanitize(action: keyof typeof SanitizeAction, options: SanitizeOptions = {}): Promise<void> {
    const { target } = this;
    const code = SanitizeAction[action];
    if (code === undefined) {
      throw new ArgumentError(`action must be one of ${Object.keys(SanitizeAction).join(", ")}`);
    }
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
      throw new UnsupportedError(`${target.bdf} does not have the sanitize action ${action} (SANICAP)`);
    }
    const isOverwrite = code === SanitizeAction.overwrite;
    const cdw10 =
      code |
      (options.allowUnrestrictedExit === true ? 1 << 3 : 0) |
      // 16 passes are 0.
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
   * Device Self-test: begins one, or ends the one that runs (`abort`). Results are in logs.selfTest().
   * @param nsid 0: the controller alone; FFFFFFFFh (default): with all its namespaces
   * @throws UnsupportedError, ArgumentError, NvmeError (one runs already), TimeoutError, DeviceGoneError, ClosedError
   */
  async selfTest(code: keyof typeof SelfTestCode, nsid: number = BROADCAST_NSID): Promise<void> {
    requireCommands(this.target, "deviceSelfTest");
    checkU32("nsid", nsid);
    const stc = SelfTestCode[code];
    if (stc === undefined) {
      throw new ArgumentError(`code must be one of ${Object.keys(SelfTestCode).join(", ")}`);
    }
    await this.target.admin({
      name: `Device Self-test (${code})`,
      opcode: AdminOpcode.deviceSelfTest,
      nsid,
      cdw10: stc,
    });
  }
}
