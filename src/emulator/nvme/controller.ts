/** The emulated NVMe controller, as its owner and a vfio-user server use it. */
import { checkFunction, checkString } from "../../core/check.js";
import { ConfigError } from "../../core/errors.js";
import { Lease } from "../../core/lifetime/lease.js";
import { Resource } from "../../core/lifetime/resource.js";
import type { AnaStateName } from "../../nvme/spec/log-pages.js";
import { DOORBELL_BASE } from "../../nvme/spec/registers.js";
import {
  checkHost,
  type DeviceHost,
  type DeviceMigration,
  type DeviceVectors,
  type EmulatedBar,
  type EmulatedDevice,
} from "../../vfio-user/server/emulated-device.js";
import type { InjectedFault } from "../faults/counter.js";
import { DOORBELL_BYTES } from "./bars.js";
import { nvmeConfigSpace } from "./config-space.js";
import { type FaultOptions, parseFault } from "./faults.js";
import type { HostMemoryUse } from "./host/host-memory-use.js";
import { KeptParts } from "./medium/kept-parts.js";
import { openMedium } from "./open-medium.js";
import { type NvmeEmulatorConfig, type NvmeEmulatorOptions, parseNvmeEmulatorOptions } from "./options.js";
import { SharedPage } from "./shared-page.js";
import { Subsystem } from "./subsystem.js";
import { type ControllerParts, type ControllerStorage, wireController } from "./wiring.js";

/** An NVMe controller in this process, to be served over vfio-user. */
export class EmulatedNvme extends Resource implements EmulatedDevice {
  readonly name = "emulated NVMe controller";
  readonly configSpace: Uint8Array;
  readonly bars: readonly (EmulatedBar | undefined)[];
  readonly vectors: DeviceVectors;
  readonly migration: DeviceMigration;

  private constructor(
    config: NvmeEmulatorConfig,
    hasCmb: boolean,
    private readonly parts: ControllerParts,
    release: () => void,
    private readonly listener: { onRemove: () => void },
    private readonly made: { readonly config: NvmeEmulatorConfig; readonly storage: ControllerStorage },
    private readonly first?: EmulatedNvme,
  ) {
    super(new Lease("emulated NVMe controller", release, ...(first === undefined ? [] : [first.lease])));
    this.configSpace = nvmeConfigSpace(config.vectors, hasCmb, config.odd);
    this.vectors = { intx: 1, msi: config.odd.deadMsi ? 1 : 0, msix: config.vectors };
    this.bars = parts.bars;
    this.migration = parts.migration;
  }

  /**
   * Makes a controller with its medium. A file that already holds namespaces stays as it is.
   * @param polled drives itself from the event loop; otherwise its owner calls pump()
   * @throws ConfigError, SysError, UnsupportedError (no address space); nothing stays open
   */
  static create(options: NvmeEmulatorOptions = {}, polled = true): EmulatedNvme {
    const parsed = parseNvmeEmulatorOptions(options);
    const open: Resource[] = [];
    const opened = <T extends Resource>(part: T): T => {
      open.push(part);
      return part;
    };
    try {
      const kept = new KeptParts(parsed);
      const { medium, inventory } = openMedium(parsed, opened);
      const doorbells = opened(SharedPage.create("nvme-doorbells", DOORBELL_BYTES, DOORBELL_BASE));
      const cmb = parsed.cmbBytes > 0 ? opened(SharedPage.create("nvme-cmb", parsed.cmbBytes)) : undefined;
      const config = { ...parsed, capacityBytes: inventory.layout.capacityBytes };
      const storage = { medium, inventory, kept, doorbells, cmb, subsystem: new Subsystem() };
      const listener = { onRemove: () => {} };
      const parts = wireController(config, storage, polled, () => listener.onRemove());
      for (const part of open) part.relinquish();
      const release = releasing(parts, storage, true);
      return new EmulatedNvme(config, cmb !== undefined, parts, release, listener, { config, storage });
    } catch (error) {
      for (const part of open.reverse()) part.close();
      throw error;
    }
  }

  /**
   * Makes another controller of the same NVM subsystem: with the same namespaces, options, serial number and reservations, and
   * queues, features and logs of its own. Closing the first controller closes the others before. Controllers of such a
   * subsystem don't migrate.
   * @param polled as for create()
   * @throws ConfigError (a controller with a cache in host memory can't share its medium), ClosedError, SysError
   */
  peer(polled = true): EmulatedNvme {
    if (this.first !== undefined) return this.first.peer(polled);
    this.lease.assertOpen();
    const { storage } = this.made;
    const config = { ...this.made.config, faults: [] };
    if (config.hostMemoryBytes > 0)
      throw new ConfigError(
        "a controller with hostMemoryBytes can't have a peer: what it keeps in its host's memory isn't seen by another",
      );
    const open: Resource[] = [];
    const opened = <T extends Resource>(part: T): T => {
      open.push(part);
      return part;
    };
    try {
      const doorbells = opened(SharedPage.create("nvme-doorbells", DOORBELL_BYTES, DOORBELL_BASE));
      const cmb = config.cmbBytes > 0 ? opened(SharedPage.create("nvme-cmb", config.cmbBytes)) : undefined;
      const own = { ...storage, doorbells, cmb };
      const listener = { onRemove: () => {} };
      const parts = wireController(config, own, polled, () => listener.onRemove());
      for (const part of open) part.relinquish();
      const release = releasing(parts, own, false);
      return new EmulatedNvme(
        config,
        cmb !== undefined,
        parts,
        release,
        listener,
        { config, storage: own },
        this,
      );
    } catch (error) {
      for (const part of open.reverse()) part.close();
      throw error;
    }
  }

  /** Called when a `remove` fault unplugs the device: the server should let its client go. */
  get onRemove(): () => void {
    return this.listener.onRemove;
  }

  /** Replaces what is called when a `remove` fault unplugs the device. @param listener takes the place of the one before */
  set onRemove(listener: () => void) {
    checkFunction("onRemove", listener);
    this.listener.onRemove = listener;
  }

  /**
   * Injects a fault, from now on. What it returns counts and removes it, and plugs the device in again that it has unplugged.
   * @throws ConfigError
   */
  inject(fault: FaultOptions): InjectedFault {
    const parsed = parseFault(fault);
    const injected = this.parts.faults.add(parsed);
    if (parsed.kind !== "remove" && parsed.kind !== "all-ones") return injected;
    const remove = (): void => {
      injected.remove();
      if (injected.hits > 0) this.parts.unplugging.plugIn();
    };
    return {
      get hits() {
        return injected.hits;
      },
      remove,
      [Symbol.dispose]: remove,
    };
  }

  /** Removes all faults, and plugs an unplugged device in again. */
  clearFaults(): void {
    this.parts.faults.clear();
    this.parts.unplugging.plugIn();
  }

  /**
   * Captures a Telemetry Controller-Initiated log, as after an error.
   * @param reason the log's Reason Identifier, cut to 128 characters
   * @throws ArgumentError
   */
  captureTelemetry(reason: string): void {
    this.parts.services.captureTelemetry(checkString("reason", reason).slice(0, 128));
  }

  /**
   * Changes the asymmetric access state of a group of namespaces. Commands to them fail as the state says, and the host
   * gets an event if it asked for it.
   * @param group 1 to `anaGroups`
   * @throws ConfigError if there is no such group or state
   */
  setAnaState(group: number, state: AnaStateName): void {
    this.parts.services.setAnaState(group, state);
  }

  /** How the controller uses the host's memory (HMB); undefined if it asks for none. */
  get hostMemory(): HostMemoryUse | undefined {
    return this.parts.services.hostMemoryUse;
  }

  connect(host: DeviceHost): void {
    checkHost(host);
    this.parts.interrupts.host = host;
    this.parts.memory.attach(host.memory);
  }

  disconnect(): void {
    // Queues belong to the client, so a reset removes them. Namespaces and data stay.
    this.parts.lifecycle.functionReset("conventional");
    this.parts.interrupts.host = undefined;
    this.parts.memory.attach(undefined);
  }

  reset(): void {
    this.parts.lifecycle.functionReset("conventional");
  }

  /**
   * Executes the commands in all queues, and raises interrupts. Never throws, whatever the host has written to its memory.
   * @returns how many commands and completions there were
   */
  pump(): number {
    return this.parts.loop.pump();
  }
}

/** Releases a controller. Doesn't refer to it: the lease would keep it from being collected. */
function releasing(
  parts: ControllerParts,
  { medium, doorbells, cmb }: ControllerStorage,
  ownsMedium: boolean,
): () => void {
  return () => {
    parts.unplugging.stop();
    parts.lifecycle.end();
    parts.leave();
    medium.flush();
    if (ownsMedium) medium.close();
    doorbells.close();
    cmb?.close();
  };
}
