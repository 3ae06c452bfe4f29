/** The controller's registers: capabilities, enable, disable, shutdown and reset. */
import { setTimeout as sleep } from "node:timers/promises";
import { DeviceGoneError, TimeoutError } from "../../core/errors.js";
import { NvmeProtocolError } from "../command/error.js";
import {
  type Capabilities,
  ControllerConfig,
  ControllerStatus,
  decodeCapabilities,
  NSSR_RESET,
  NvmeRegister,
  READY_UNIT_MS,
  ReadyTimeouts,
} from "../spec/registers.js";

const ALL_ONES = 0xffff_ffff;

/** CSTS, decoded. */
export interface ControllerState {
  readonly ready: boolean;
  /** Controller Fatal Status. */
  readonly fatal: boolean;
  readonly shutdownComplete: boolean;
}

/** Access to registers, such as a Bar. */
export interface RegisterAccess {
  read32(offset: number): number;
  read64(offset: number): bigint;
  write32(offset: number, value: number): void;
  write64(offset: number, value: bigint): void;
}

/** An NVMe controller's registers. Each wait for them has a time limit. */
export class ControllerRegisters {
  private quietUntil = Number.NEGATIVE_INFINITY;

  /**
   * @param bar BAR with the registers
   * @param name name of the controller, for errors
   * @param quietMs how long no register is read after CC.EN is cleared (quirk `delay-before-ready`)
   */
  constructor(
    private readonly bar: RegisterAccess,
    private readonly name: string,
    private readonly quietMs: () => number = () => 0,
  ) {}

  /** Whether a disabled controller is to be left alone for a while. */
  get isQuiet(): boolean {
    return performance.now() < this.quietUntil;
  }

  /** CAP. @throws DeviceGoneError */
  capabilities(): Capabilities {
    const cap = this.bar.read64(NvmeRegister.CAP);
    if (cap === 0xffff_ffff_ffff_ffffn) throw new DeviceGoneError(this.name);
    return decodeCapabilities(cap);
  }

  /**
   * Time limit for the controller to start or stop, in milliseconds: the longer one of CAP.TO and CRTO. One unit is added,
   * because some controllers report 0 or round down.
   */
  readyLimitMs({ timeoutMs, crwms, crims }: Capabilities): number {
    let stated = timeoutMs;
    if (crwms || crims) {
      const crto = this.bar.read32(NvmeRegister.CRTO);
      const units = crwms ? crto & ReadyTimeouts.CRWMT_MASK : crto >>> ReadyTimeouts.CRIMT_SHIFT;
      stated = Math.max(stated, units * READY_UNIT_MS);
    }
    return stated + READY_UNIT_MS;
  }

  /** VS, e.g. `1.4.0`. */
  version(): string {
    const version = this.bar.read32(NvmeRegister.VS);
    return `${version >>> 16}.${(version >>> 8) & 0xff}.${version & 0xff}`;
  }

  /** CSTS. @throws DeviceGoneError if it reads all ones */
  state(): ControllerState {
    const status = this.bar.read32(NvmeRegister.CSTS);
    if (status === ALL_ONES) throw new DeviceGoneError(this.name);
    return {
      ready: (status & ControllerStatus.RDY) !== 0,
      fatal: (status & ControllerStatus.CFS) !== 0,
      shutdownComplete: (status & ControllerStatus.SHST_MASK) === ControllerStatus.SHST_COMPLETE,
    };
  }

  /** CC. */
  get config(): number {
    return this.bar.read32(NvmeRegister.CC);
  }

  set config(value: number) {
    this.bar.write32(NvmeRegister.CC, value >>> 0);
  }

  /** Writes AQA, ASQ and ACQ. Only while the controller is disabled. */
  setAdminQueue(entries: number, submission: bigint, completion: bigint): void {
    this.bar.write32(NvmeRegister.AQA, (((entries - 1) << 16) | (entries - 1)) >>> 0);
    this.bar.write64(NvmeRegister.ASQ, submission);
    this.bar.write64(NvmeRegister.ACQ, completion);
  }

  /**
   * Clears CC.EN and waits until the controller has stopped. It doesn't access host memory then.
   * @param signal ends the wait
   * @throws TimeoutError, DeviceGoneError, the signal's reason
   */
  async disable(timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const config = this.config;
    this.state();
    if ((config & ControllerConfig.EN) !== 0) this.config = config & ~ControllerConfig.EN;
    const quietMs = this.quietMs();
    if (quietMs > 0) {
      // Also if it was disabled already: it may have been reset a moment ago.
      this.quietUntil = performance.now() + quietMs;
      await sleep(quietMs, undefined, { signal }).catch(() => signal?.throwIfAborted());
    }
    await this.waitFor("controller stop (CSTS.RDY 0)", timeoutMs, ({ ready }) => !ready, signal);
  }

  /**
   * Sets CC to `config` with EN, and waits until the controller is ready.
   * @param signal ends the wait
   * @throws TimeoutError, the signal's reason, NvmeProtocolError if it reports a fatal status, DeviceGoneError
   */
  async enable(config: number, timeoutMs: number, signal?: AbortSignal): Promise<void> {
    this.config = config | ControllerConfig.EN;
    await this.waitFor(
      "controller start (CSTS.RDY 1)",
      timeoutMs,
      ({ ready, fatal }) => {
        if (fatal) throw new NvmeProtocolError(`${this.name} reports a fatal status (CSTS.CFS) when enabled`);
        return ready;
      },
      signal,
    );
  }

  /**
   * Sends the shutdown notification (CC.SHN) and waits until the shutdown is complete.
   * @param abrupt for a power failure: the shutdown is fast, not orderly
   * @throws TimeoutError, DeviceGoneError
   */
  async shutdown(timeoutMs: number, abrupt = false): Promise<void> {
    const how = abrupt ? ControllerConfig.SHN_ABRUPT : ControllerConfig.SHN_NORMAL;
    this.config = (this.config & ~ControllerConfig.SHN_MASK) | how;
    await this.waitFor("shutdown (CSTS.SHST)", timeoutMs, ({ shutdownComplete }) => shutdownComplete);
  }

  /**
   * Resets the whole NVM subsystem (NSSR), and waits until the controller can be accessed and has stopped. During the reset
   * its registers may read all ones.
   * @throws TimeoutError, DeviceGoneError if registers still read all ones at the end
   */
  async resetSubsystem(timeoutMs: number): Promise<void> {
    this.bar.write32(NvmeRegister.NSSR, NSSR_RESET);
    const end = performance.now() + timeoutMs;
    for (;;) {
      const last = performance.now() >= end;
      const status = this.bar.read32(NvmeRegister.CSTS);
      if (status !== ALL_ONES && (status & ControllerStatus.RDY) === 0) break;
      if (last && status === ALL_ONES) throw new DeviceGoneError(this.name);
      if (last) throw new TimeoutError(`${this.name}: NVM subsystem reset`, timeoutMs);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    // Writing 1 clears NSSRO, so that it reports the next reset.
    this.bar.write32(NvmeRegister.CSTS, ControllerStatus.NSSRO);
  }

  /** Disables the controller memory buffer. */
  forgetCmb(): void {
    this.bar.write64(NvmeRegister.CMBMSC, 0n);
  }

  /** Disables the addresses of the persistent memory region in commands. */
  forgetPmr(): void {
    this.bar.write32(NvmeRegister.PMRMSCL, 0);
    this.bar.write32(NvmeRegister.PMRMSCU, 0);
  }

  private async waitFor(
    what: string,
    timeoutMs: number,
    done: (state: ControllerState) => boolean,
    signal?: AbortSignal,
  ): Promise<void> {
    const end = performance.now() + timeoutMs;
    for (let wait = 0; ; wait = 1) {
      // Reads once more after the time limit, because the process may have been suspended.
      const last = performance.now() >= end;
      signal?.throwIfAborted();
      if (done(this.state())) return;
      if (last) throw new TimeoutError(`${this.name}: ${what}`, timeoutMs);
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}
