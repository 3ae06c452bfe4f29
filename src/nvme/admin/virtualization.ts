/** Virtualization Management: resources and states of secondary controllers. */
import { checkInteger, checkKeys, lookUp } from "../../core/check.js";
import { type AdminTarget, requireCommands } from "../command/admin-target.js";
import { decodeBits, Lpa } from "../spec/capabilities.js";
import { CommandEffect } from "../spec/log-pages.js";
import { AdminOpcode } from "../spec/opcodes.js";
import {
  type PrimaryControllerCapabilities,
  ResourceType,
  type SecondaryController,
  VirtualizationAction,
} from "../spec/virtualization.js";
import { NvmeLogs } from "./logs.js";
import { NvmeStructures } from "./structures.js";

/**
 * Secondary controllers and their resources (NVMe Base 2.x, section "Virtualization Enhancements"). An offline
 * secondary controller can be assigned resources. To use it, bring it online and reset its function.
 */
export class NvmeVirtualization {
  constructor(private readonly target: AdminTarget) {}

  /** Resources that can be assigned (Identify CNS 14h). @throws as manage() */
  async capabilities(): Promise<PrimaryControllerCapabilities> {
    await this.require();
    return await new NvmeStructures(this.target).primaryController();
  }

  /** The secondary controllers of this one (CNS 15h). @throws as manage() */
  async secondaryControllers(): Promise<SecondaryController[]> {
    await this.require();
    return await new NvmeStructures(this.target).secondaryControllers();
  }

  /** The secondary controller of a virtual function. @param vf from 1 @throws as manage() */
  async ofVirtualFunction(vf: number): Promise<SecondaryController | undefined> {
    checkInteger("vf", vf, 1, 0xffff);
    return (await this.secondaryControllers()).find(({ vfn }) => vfn === vf);
  }

  /**
   * Virtualization Management.
   * @param cntlid controller identifier of the controller to change
   * @returns number of resources modified (NRM)
   * @throws UnsupportedError, ArgumentError, NvmeError (Invalid Controller Identifier, Invalid Secondary Controller State,
   *   Invalid Number of Controller Resources, ...), TimeoutError, DeviceGoneError, ClosedError
   */
  async manage(
    action: keyof typeof VirtualizationAction,
    cntlid: number,
    resources?: { readonly type: keyof typeof ResourceType; readonly count: number },
  ): Promise<number> {
    if (resources !== undefined) checkKeys("resources", resources, ["type", "count"]);
    await this.require();
    checkInteger("cntlid", cntlid, 0, 0xffff);
    const number = lookUp("action", action, VirtualizationAction);
    const { type = "queues", count = 0 } = resources ?? {};
    const resource = lookUp("type", type, ResourceType);
    checkInteger("count", count, 0, 0xffff);
    const { dw0 } = await this.target.admin({
      name: `Virtualization Management (${action}, controller ${cntlid})`,
      opcode: AdminOpcode.virtualizationManagement,
      cdw10: (number | (resource << 8) | (cntlid << 16)) >>> 0,
      cdw11: count,
    });
    return dw0 & 0xffff;
  }

  /** Assigns queue pairs and interrupt vectors to an offline secondary controller. @throws as manage() */
  async assign(
    cntlid: number,
    resources: { readonly queues: number; readonly interrupts: number },
  ): Promise<void> {
    checkKeys("resources", resources, ["queues", "interrupts"]);
    await this.manage("secondaryAssign", cntlid, { type: "queues", count: resources.queues });
    await this.manage("secondaryAssign", cntlid, { type: "interrupts", count: resources.interrupts });
  }

  /**
   * Assigns the most resources that a secondary controller may have, as far as they are free.
   * @returns the resources assigned
   * @throws as manage()
   */
  async assignMost(cntlid: number): Promise<{
    /** Queue pairs. */
    readonly queues: number;
    /** Interrupt vectors. */
    readonly interrupts: number;
  }> {
    const { vqfrt, vqrfa, vqrfap, vqfrsm, vifrt, virfa, virfap, vifrsm } = await this.capabilities();
    const resources = {
      queues: Math.max(0, Math.min(vqfrsm, vqfrt - vqrfa - vqrfap)),
      interrupts: Math.max(0, Math.min(vifrsm, vifrt - virfa - virfap)),
    };
    await this.assign(cntlid, resources);
    return resources;
  }

  /** Allocates flexible resources to this primary controller, from its next reset on. @throws as manage() */
  async allocatePrimary(resources: {
    readonly queues?: number;
    readonly interrupts?: number;
  }): Promise<void> {
    checkKeys("resources", resources, ["queues", "interrupts"]);
    for (const type of ["queues", "interrupts"] as const) {
      const count = resources[type];
      if (count === undefined) continue;
      await this.manage("primaryFlexibleAllocation", this.target.identify.cntlid, { type, count });
    }
  }

  /** Brings a secondary controller online. It needs two queue pairs (admin and I/O) and an interrupt vector. @throws as manage() */
  async online(cntlid: number): Promise<void> {
    await this.manage("secondaryOnline", cntlid);
  }

  /** Takes a secondary controller offline. Its resources can be changed then. @throws as manage() */
  async offline(cntlid: number): Promise<void> {
    await this.manage("secondaryOffline", cntlid);
  }

  /** Checks the Commands Supported log, too: QEMU's controller doesn't report the command in OACS. @throws UnsupportedError */
  private async require(): Promise<void> {
    const { target } = this;
    if (decodeBits(target.identify.lpa, Lpa).commandEffects) {
      const { admin } = await new NvmeLogs(target).commandEffects();
      const effects = decodeBits(admin[AdminOpcode.virtualizationManagement] ?? 0, CommandEffect);
      if (effects.supported) return;
    }
    requireCommands(target, "virtualizationManagement");
  }
}
