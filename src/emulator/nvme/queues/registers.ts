/** The controller's registers, and what writing them does. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import {
  AMS_WEIGHTED,
  BootPartitionInfo,
  BootPartitionSelect,
  CmbControl,
  CmbSize,
  ControllerConfig,
  ControllerStatus,
  encodeCapabilities,
  NSSR_RESET,
  NvmeRegister,
  READY_UNIT_MS,
} from "../../../nvme/spec/registers.js";
import type { CmbRules } from "../host/cmb-rules.js";
import type { Oddities } from "../host/oddities.js";
import { u32 } from "../medium/state-schema.js";

/** The part of a migration state that holds the registers. */
export const registersState = lazily(() =>
  z.strictObject({
    intms: u32(),
    cc: u32(),
    csts: u32(),
    aqa: u32(),
    asq: z.tuple([u32(), u32()]),
    acq: z.tuple([u32(), u32()]),
    cmbmsc: z.tuple([u32(), u32()]),
    /** BPMBL, and the status of the last read. */
    bpmbl: z.optional(z.tuple([u32(), u32(), u32()])),
  }),
);
export type RegistersState = z.output<ReturnType<typeof registersState>>;

/** VS. This controller is written to the specification 2.0. */
export function nvmeVersion({ version }: Oddities): number {
  return version === "1.0" ? 0x0001_0000 : 0x0002_0000;
}

/** CAP.CSS: the NVM command set, and all that are supported by CSI. */
const CSS_NVM = 1 << 0;
const CSS_ALL = 1 << 6;
const PAGE_BYTES = 4096;
/** CC.MPS at most: memory pages of 64 KiB. */
export const MAX_MPS = 4;
/** Our BAR of the controller memory buffer. */
export const CMB_BAR = 2;

/** Writable bits of CC, AQA and the low half of CMBMSC. */
const CONFIG_WRITABLE = 0x00ff_fff1;
const AQA_WRITABLE = 0x0fff_0fff;
const PAGE_MASK = 0xfff;
const CMBMSC_WRITABLE = CmbControl.CRE | CmbControl.CMSE | ~PAGE_MASK;

/** BPINFO.BRS: what became of the last read. */
const BootRead = { none: 0, done: 2, failed: 3 } as const;

/** What happens when the host writes a register. */
export interface RegisterEvents {
  /** CC.EN went from 0 to 1. */
  enable(): void;
  /** CC.EN went from 1 to 0. */
  disable(): void;
  /** CC.SHN was set. */
  shutdown(): void;
  subsystemReset(): void;
  /** INTMC cleared bits of the mask. */
  unmask(): void;
  /** BPRSEL was written. @returns whether the host has the part of the boot partition now */
  readBootPartition(id: number, offset: number, lengthBytes: number, address: number): boolean;
  /** CMBMSC was written. @param sizeBytes 0 if the buffer has no place */
  placeCmb(base: number, sizeBytes: number): void;
}

/** What the registers say and never changes. */
export interface RegisterOptions {
  readonly maxQueueEntries: number;
  readonly cmbBytes: number;
  readonly cmbRules: CmbRules;
  /** BPINFO without the status of a read; undefined without boot partitions. */
  readonly bootPartitions: { readonly info: number } | undefined;
  readonly odd: Oddities;
}

/** The controller's registers below the doorbells: their values, and what writing them means. */
export class Registers {
  private readonly words = new Uint32Array(PAGE_BYTES / 4);
  private readonly view = new Uint8Array(this.words.buffer);
  /** The device is unplugged: all registers read as ones. */
  allOnes = false;
  /** Until then (performance.now()) the host doesn't see that the controller is ready. */
  private readyAt = 0;
  /** Until then (performance.now()) the host must not read CSTS. */
  private quietUntil = 0;
  private bootRead: number = BootRead.none;
  /** The first access after power-on (performance.now()). */
  private since: number | undefined;

  constructor(
    private readonly options: RegisterOptions,
    private readonly events: RegisterEvents,
  ) {
    this.reset();
  }

  /** All registers as after power-on. */
  reset(): void {
    const { words, options } = this;
    const { odd } = options;
    words.fill(0);
    this.since = undefined;
    this.bootRead = BootRead.none;
    const cap = encodeCapabilities({
      maxQueueEntries: odd.mqes === undefined ? options.maxQueueEntries : odd.mqes + 1,
      contiguousQueues: true,
      ams: AMS_WEIGHTED,
      timeoutMs: odd.readyTimeoutMs,
      doorbellStrideBytes: odd.doorbellStrideBytes,
      nssrs: true,
      css: CSS_NVM | CSS_ALL,
      bps: options.bootPartitions !== undefined,
      minPageBytes: PAGE_BYTES,
      maxPageBytes: PAGE_BYTES * 2 ** MAX_MPS,
      cmbs: options.cmbBytes > 0,
      pmrs: false,
      crwms: odd.readyWithMediaMs !== undefined,
      crims: false,
    });
    words[NvmeRegister.CAP / 4] = Number(cap & 0xffff_ffffn);
    words[NvmeRegister.CAP / 4 + 1] = Number(cap >> 32n);
    words[NvmeRegister.VS / 4] = nvmeVersion(odd);
    words[NvmeRegister.CRTO / 4] = (odd.readyWithMediaMs ?? 0) / READY_UNIT_MS;
    this.events.placeCmb(0, 0);
  }

  get config(): number {
    return this.get(NvmeRegister.CC);
  }

  get status(): number {
    return this.get(NvmeRegister.CSTS);
  }

  set status(value: number) {
    const { readyDelayMs } = this.options.odd;
    const becomesReady = (value & ~this.status & ControllerStatus.RDY) !== 0;
    if (becomesReady && readyDelayMs > 0) this.readyAt = performance.now() + readyDelayMs;
    this.words[NvmeRegister.CSTS / 4] = value;
  }

  get interruptMask(): number {
    return this.get(NvmeRegister.INTMS);
  }

  /** CC.MPS in bytes. */
  get pageBytes(): number {
    return 2 ** (12 + ((this.config >>> ControllerConfig.MPS_SHIFT) & 0xf));
  }

  /** AQA, ASQ and ACQ. */
  get adminQueue(): { sqEntries: number; cqEntries: number; sq: number; cq: number } {
    const aqa = this.get(NvmeRegister.AQA);
    return {
      sqEntries: (aqa & 0xfff) + 1,
      cqEntries: ((aqa >>> 16) & 0xfff) + 1,
      sq: this.get(NvmeRegister.ASQ + 4) * 2 ** 32 + this.get(NvmeRegister.ASQ),
      cq: this.get(NvmeRegister.ACQ + 4) * 2 ** 32 + this.get(NvmeRegister.ACQ),
    };
  }

  save(): RegistersState {
    const both = (offset: number): [number, number] => [this.get(offset), this.get(offset + 4)];
    return {
      intms: this.interruptMask,
      cc: this.config,
      csts: this.status,
      aqa: this.get(NvmeRegister.AQA),
      asq: both(NvmeRegister.ASQ),
      acq: both(NvmeRegister.ACQ),
      cmbmsc: both(NvmeRegister.CMBMSC),
      bpmbl: [...both(NvmeRegister.BPMBL), this.bootRead],
    };
  }

  /** Loads saved registers, and starts nothing. */
  load({ intms, cc, csts, aqa, asq, acq, cmbmsc, bpmbl = [0, 0, 0] }: RegistersState): void {
    const { words } = this;
    this.reset();
    this.mask(intms);
    words[NvmeRegister.CC / 4] = cc & CONFIG_WRITABLE;
    this.status = csts;
    words[NvmeRegister.AQA / 4] = aqa & AQA_WRITABLE;
    words.set([asq[0] & ~PAGE_MASK, asq[1]], NvmeRegister.ASQ / 4);
    words.set([acq[0] & ~PAGE_MASK, acq[1]], NvmeRegister.ACQ / 4);
    if (this.options.bootPartitions !== undefined) {
      words.set([bpmbl[0] & ~PAGE_MASK, bpmbl[1]], NvmeRegister.BPMBL / 4);
      this.bootRead = bpmbl[2] & 3;
    }
    if (this.options.cmbBytes === 0) return;
    words.set([cmbmsc[0] & CMBMSC_WRITABLE, cmbmsc[1]], NvmeRegister.CMBMSC / 4);
    this.placeCmb();
  }

  /** A read of any width. */
  read(offset: number, target: Uint8Array): void {
    if (this.allOnes) {
      target.fill(0xff);
      return;
    }
    this.since ??= performance.now();
    const { bootPartitions } = this.options;
    if (bootPartitions !== undefined) {
      this.words[NvmeRegister.BPINFO / 4] =
        bootPartitions.info | (this.bootRead << BootPartitionInfo.BRS_SHIFT);
    }
    const status = NvmeRegister.CSTS - offset;
    if (status in target && performance.now() < this.quietUntil) {
      this.words[NvmeRegister.CSTS / 4] = this.status | ControllerStatus.CFS;
    }
    for (let i = 0; i < target.length; i++) target[i] = this.view[offset + i] ?? 0;
    if (status in target && performance.now() < this.readyAt) {
      target[status] = (target[status] ?? 0) & ~ControllerStatus.RDY;
    }
  }

  /** A write of any width: whole registers, low half first, as two 32-bit writes are. */
  write(offset: number, source: Uint8Array): void {
    if (this.allOnes) return;
    for (let at = offset; at < offset + source.length; ) {
      const word = at - (at % 4);
      const bytes = new Uint8Array(4);
      bytes.set(this.view.subarray(word, word + 4));
      for (; at < word + 4 && at < offset + source.length; at++) bytes[at - word] = source[at - offset] ?? 0;
      this.writeWord(word, new DataView(bytes.buffer).getUint32(0, true));
    }
  }

  private get(offset: number): number {
    return this.words[offset / 4] ?? 0;
  }

  private writeWord(offset: number, value: number): void {
    const { words } = this;
    switch (offset) {
      // INTMS and INTMC show the same mask.
      case NvmeRegister.INTMS:
        this.mask(this.interruptMask | value);
        return;
      case NvmeRegister.INTMC:
        this.mask(this.interruptMask & ~value);
        this.events.unmask();
        return;
      case NvmeRegister.CC:
        this.writeConfig(value);
        return;
      case NvmeRegister.CSTS:
        // The host clears NSSRO by writing 1. Only the controller changes the other bits.
        this.status = this.status & ~(value & ControllerStatus.NSSRO);
        return;
      case NvmeRegister.NSSR:
        if (value === NSSR_RESET) this.events.subsystemReset();
        return;
      case NvmeRegister.AQA:
        words[offset / 4] = value & AQA_WRITABLE;
        return;
      case NvmeRegister.ASQ:
      case NvmeRegister.ACQ:
        words[offset / 4] = value & ~PAGE_MASK;
        return;
      case NvmeRegister.ASQ + 4:
      case NvmeRegister.ACQ + 4:
        words[offset / 4] = value;
        return;
      case NvmeRegister.BPMBL:
      case NvmeRegister.BPMBL + 4:
        if (this.options.bootPartitions !== undefined)
          words[offset / 4] = offset === NvmeRegister.BPMBL ? value & ~PAGE_MASK : value;
        return;
      case NvmeRegister.BPRSEL:
        if (this.options.bootPartitions !== undefined) this.readBootPartition(value);
        return;
      case NvmeRegister.CMBMSC:
        if (this.options.cmbBytes > 0) {
          words[offset / 4] = value & CMBMSC_WRITABLE;
          this.placeCmb();
        }
        return;
      case NvmeRegister.CMBMSC + 4:
        if (this.options.cmbBytes > 0) {
          words[offset / 4] = value;
          this.placeCmb();
        }
        return;
      default:
      // Reserved and read-only registers don't change.
    }
  }

  private mask(value: number): void {
    this.words[NvmeRegister.INTMS / 4] = value;
    this.words[NvmeRegister.INTMC / 4] = value;
  }

  /** As after power-on. */
  clearAdminQueue(): void {
    this.words.fill(0, NvmeRegister.AQA / 4, NvmeRegister.ACQ / 4 + 2);
  }

  private writeConfig(value: number): void {
    const before = this.config;
    const wasEnabled = (before & ControllerConfig.EN) !== 0;
    const enables = (value & ControllerConfig.EN) !== 0;
    this.words[NvmeRegister.CC / 4] = value & CONFIG_WRITABLE;
    if (enables && !wasEnabled) {
      const { initMs } = this.options.odd;
      const isTooEarly = initMs > 0 && performance.now() < (this.since ?? 0) + initMs;
      if (isTooEarly) this.status |= ControllerStatus.CFS;
      else this.events.enable();
    }
    if (!enables && wasEnabled) {
      this.events.disable();
      this.quietUntil = performance.now() + this.options.odd.quietMs;
    }
    const shutdown = value & ControllerConfig.SHN_MASK;
    if (shutdown !== 0 && (before & ControllerConfig.SHN_MASK) !== shutdown) this.events.shutdown();
    else if (shutdown === 0 && (this.config & ControllerConfig.EN) === 0) {
      this.status &= ~ControllerStatus.SHST_MASK;
    }
  }

  private readBootPartition(select: number): void {
    const { BPRSZ_MASK, BPROF_SHIFT, BPID_SHIFT } = BootPartitionSelect;
    this.words[NvmeRegister.BPRSEL / 4] = select;
    const address = this.get(NvmeRegister.BPMBL + 4) * 2 ** 32 + this.get(NvmeRegister.BPMBL);
    const done = this.events.readBootPartition(
      select >>> BPID_SHIFT,
      ((select >>> BPROF_SHIFT) & 0xf_ffff) * PAGE_BYTES,
      (select & BPRSZ_MASK) * PAGE_BYTES,
      address,
    );
    this.bootRead = done ? BootRead.done : BootRead.failed;
  }

  private placeCmb(): void {
    const low = this.get(NvmeRegister.CMBMSC);
    const { cmbBytes, cmbRules } = this.options;
    const shown = (low & CmbControl.CRE) !== 0;
    this.words[NvmeRegister.CMBLOC / 4] = shown ? CMB_BAR | cmbRules.cmbloc : 0;
    this.words[NvmeRegister.CMBSZ / 4] = shown
      ? ((cmbBytes / PAGE_BYTES) << CmbSize.SZ_SHIFT) | cmbRules.cmbsz
      : 0;
    const base = this.get(NvmeRegister.CMBMSC + 4) * 2 ** 32 + ((low & ~0xfff) >>> 0);
    const placed = shown && (low & CmbControl.CMSE) !== 0;
    const valid = base + cmbBytes <= Number.MAX_SAFE_INTEGER;
    // CBAI: the base address is invalid.
    this.words[NvmeRegister.CMBSTS / 4] = placed && !valid ? 1 : 0;
    this.events.placeCmb(base, placed && valid ? cmbBytes : 0);
  }
}
