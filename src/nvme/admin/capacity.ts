/** Capacity Management: endurance groups and NVM sets. */
import { checkInteger, checkU64 } from "../../core/check.js";
import { UnsupportedError } from "../../core/errors.js";
import type { AdminTarget } from "../command/admin-target.js";
import { type Bits, Ctratt, decodeBits } from "../spec/capabilities.js";
import { AdminOpcode } from "../spec/opcodes.js";

/** Capacity Management, CDW10 bits 3:0 (OPER). */
const Operation = {
  selectConfiguration: 0,
  createEnduranceGroup: 1,
  deleteEnduranceGroup: 2,
  createNvmSet: 3,
  deleteNvmSet: 4,
} as const;

/** Creates and deletes endurance groups and NVM sets (NVMe Base 2.x, section "Capacity Management command"). */
export class NvmeCapacity {
  constructor(private readonly target: AdminTarget) {}

  /**
   * Selects one of the capacity configurations that the controller offers (log page 11h).
   * @param id capacity configuration identifier
   * @throws UnsupportedError if CTRATT lacks the operation; ArgumentError, NvmeError, TimeoutError, DeviceGoneError, ClosedError
   */
  async selectConfiguration(id: number): Promise<void> {
    await this.manage("selectConfiguration", "fixedCapacity", id);
  }

  /** Creates an endurance group. @param bytes capacity @returns its identifier @throws as selectConfiguration() */
  async createEnduranceGroup(bytes: bigint): Promise<number> {
    return await this.manage("createEnduranceGroup", "variableCapacity", 0, bytes);
  }

  /** Deletes an endurance group with all NVM sets and namespaces in it. @throws as selectConfiguration() */
  async deleteEnduranceGroup(endgid: number): Promise<void> {
    await this.manage("deleteEnduranceGroup", "deleteEnduranceGroup", endgid);
  }

  /** Creates an NVM set in an endurance group. @param bytes capacity @returns its identifier @throws as selectConfiguration() */
  async createNvmSet(endgid: number, bytes: bigint): Promise<number> {
    return await this.manage("createNvmSet", "variableCapacity", endgid, bytes);
  }

  /** Deletes an NVM set with all namespaces in it. @throws as selectConfiguration() */
  async deleteNvmSet(nvmsetid: number): Promise<void> {
    await this.manage("deleteNvmSet", "deleteNvmSet", nvmsetid);
  }

  private async manage(
    operation: keyof typeof Operation,
    needs: keyof Bits<typeof Ctratt>,
    element: number,
    bytes = 0n,
  ): Promise<number> {
    const { target } = this;
    if (!decodeBits(target.identify.ctratt, Ctratt)[needs]) {
      throw new UnsupportedError(`${target.bdf} doesn't support ${operation} (Identify Controller, CTRATT)`);
    }
    checkInteger("id", element, 0, 0xffff);
    checkU64("bytes", bytes);
    const { dw0 } = await target.admin({
      name: `Capacity Management (${operation})`,
      opcode: AdminOpcode.capacityManagement,
      cdw10: (Operation[operation] | (element << 16)) >>> 0,
      cdw11: Number(bytes & 0xffff_ffffn),
      cdw12: Number(bytes >> 32n),
    });
    return dw0 & 0xffff;
  }
}
