/** What the current I/O command says of protection information. */
import { IO_PRACT, IO_PRCHK_APP, IO_PRCHK_GUARD, IO_PRCHK_REF } from "../../../../nvme/spec/opcodes.js";
import type { EmulatedNamespace } from "../../medium/namespace.js";
import type { ProtectionArguments } from "../../medium/protection.js";
import type { IoContext } from "./io-context.js";

/** Reads the protection fields of the current command. */
export class CommandProtection {
  private readonly pi: ProtectionArguments = { flags: 0, appTag: 0, appTagMask: 0, referenceTag: 0 };

  constructor(private readonly context: IoContext) {}

  /** PRACT where the metadata is nothing but protection: the host neither gives nor gets any. */
  stripsMetadata(namespace: EmulatedNamespace): boolean {
    return namespace.protection?.isWholeMetadata === true && (this.context.command.cdw(12) & IO_PRACT) !== 0;
  }

  /** @returns the fields, or undefined where type 1 is asked for another tag than the block's, or type 3 for any */
  arguments(namespace: EmulatedNamespace, lba: number, isWrite: boolean): ProtectionArguments | undefined {
    const { command } = this.context;
    const { pi } = this;
    const { protection, format } = namespace;
    pi.flags = command.cdw(12) & (IO_PRACT | IO_PRCHK_GUARD | IO_PRCHK_APP | IO_PRCHK_REF);
    pi.appTag = command.cdw(15) & 0xffff;
    pi.appTagMask = command.cdw(15) >>> 16;
    const high = format.guardBits === 64 ? command.cdw(3) & 0xffff : 0;
    pi.referenceTag = high * 2 ** 32 + command.cdw(14);
    const usesReference = (pi.flags & IO_PRCHK_REF) !== 0 || (isWrite && (pi.flags & IO_PRACT) !== 0);
    const modulus = format.guardBits === 64 ? 2 ** 48 : 2 ** 32;
    if (protection?.format.type === 1 && usesReference && pi.referenceTag !== lba % modulus) return undefined;
    if (protection?.format.type === 3 && (pi.flags & IO_PRCHK_REF) !== 0) return undefined;
    return pi;
  }
}
