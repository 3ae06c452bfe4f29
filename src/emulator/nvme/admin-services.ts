import { SelfTestResult } from "../../nvme/spec/log-pages.js";
import { AdminOpcode, AsyncEventInfo, AsyncEventType, LogPageId } from "../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../nvme/spec/status.js";
import type { AsyncEvents } from "./async-events.js";
import type { Command } from "./command.js";
import type { Features } from "./features.js";
import { Firmware } from "./firmware.js";
import type { FirmwareReset } from "./firmware-image.js";
import type { Inventory } from "./inventory.js";
import type { LogPages } from "./log-pages.js";
import type { Medium } from "./medium.js";
import type { NamespaceChange } from "./namespace-commands.js";
import type { NvmCommands } from "./nvm-commands.js";
import type { NvmeEmulatorConfig } from "./options.js";
import { Sanitize } from "./sanitize.js";
import type { SavedServices } from "./saved-state.js";
import { SelfTest } from "./self-test.js";
import type { Transfer } from "./transfer.js";

/** Asynchronous Event Configuration: which notices the host wants. */
const Notice = { firmwareActivation: 1 << 9 } as const;

/** What the services need of their controller. */
export interface ServiceContext {
  readonly config: NvmeEmulatorConfig;
  readonly command: Command;
  readonly transfer: Transfer;
  readonly inventory: Inventory;
  readonly medium: Medium;
  readonly nvm: NvmCommands;
  readonly features: Features;
  readonly events: AsyncEvents;
  readonly logPages: LogPages;
  /** Namespaces are other objects, or may be used or not used any more. */
  listNamespaces(): void;
}

/** Admin commands that have nothing to do with queues and namespaces, what they begin in the background, and their logs. */
export class AdminServices {
  private readonly selfTest: SelfTest;
  private readonly sanitize: Sanitize;
  private readonly firmware: Firmware;

  constructor(private readonly context: ServiceContext) {
    const { config, nvm, events, logPages } = context;
    this.selfTest = new SelfTest({
      ...context,
      shortMs: config.shortSelfTestMs,
      extendedMs: config.extendedSelfTestMs,
      poweredHours: () => logPages.poweredHours,
      failed: () => {
        const { diagnosticFailure } = AsyncEventInfo.error;
        events.raise(AsyncEventType.error, diagnosticFailure, LogPageId.errorInformation);
      },
    });
    this.firmware = new Firmware({
      ...context,
      maxTransferBytes: config.maxTransferBytes,
      activating: () => {
        const { firmwareActivationStarting } = AsyncEventInfo.notice;
        this.notify(Notice.firmwareActivation, firmwareActivationStarting, LogPageId.firmwareSlot);
      },
    });
    this.sanitize = new Sanitize({
      ...context,
      durationMs: config.sanitizeMs,
      pendingActivation: () => this.firmware.pending,
      changes: () => nvm.changes,
      begun: () => this.selfTest.abort(SelfTestResult.abortedBySanitize),
      changed: () => context.listNamespaces(),
      completed: (info) => events.raise(AsyncEventType.ioCommandSet, info, LogPageId.sanitizeStatus),
    });
    logPages.provide(LogPageId.firmwareSlot, { page: () => this.firmware.page() });
    logPages.provide(LogPageId.deviceSelfTest, { page: () => this.selfTest.page() });
    logPages.provide(LogPageId.sanitizeStatus, { page: () => this.sanitize.page() });
  }

  /** Status of the current admin command where it isn't carried out now; success otherwise. */
  refusal(): number {
    const { refusal } = this.sanitize;
    return refusal === NvmeStatus.success || this.sanitize.allows() ? NvmeStatus.success : refusal;
  }

  /** Status of all I/O commands to a namespace (FFFFFFFFh: to all) that aren't carried out now; success otherwise. */
  ioRefusal(_nsid: number): number {
    return this.sanitize.refusal;
  }

  /** @returns a status */
  execute(): number {
    switch (this.context.command.opcode) {
      case AdminOpcode.deviceSelfTest:
        return this.selfTest.execute();
      case AdminOpcode.sanitize:
        return this.sanitize.execute();
      case AdminOpcode.firmwareImageDownload:
        return this.firmware.download();
      case AdminOpcode.firmwareCommit:
        return this.firmware.commit();
      default:
        return NvmeStatus.invalidOpcode;
    }
  }

  namespaceChanged(nsid: number, change: NamespaceChange): void {
    if (change === "attached") return;
    const { abortedByFormat, abortedByNamespaceRemoval } = SelfTestResult;
    this.selfTest.namespaceGone(nsid, change === "formatted" ? abortedByFormat : abortedByNamespaceRemoval);
  }

  reset(kind: FirmwareReset): void {
    this.selfTest.controllerReset();
    this.firmware.reset(kind);
  }

  /** Power came: the medium is ours, and what is on it is from before. */
  powerOn(): void {
    this.firmware.reset("subsystem");
    this.mediumLoaded();
  }

  /** The medium and what is on it came from another emulator. */
  mediumLoaded(): void {
    this.sanitize.mediumLoaded();
  }

  /** What goes on stands still. */
  pause(): void {
    this.selfTest.pause();
    this.sanitize.pause();
  }

  resume(): void {
    this.selfTest.resume();
    this.sanitize.resume();
  }

  close(): void {
    this.selfTest.close();
    this.sanitize.close();
  }

  save(): SavedServices {
    return {
      selfTest: this.selfTest.save(),
      sanitize: this.sanitize.save(),
      firmware: this.firmware.save(),
    };
  }

  /** Puts it as it was saved; it goes on with resume(). */
  load({ selfTest, sanitize, firmware }: SavedServices): void {
    this.selfTest.load(selfTest);
    this.sanitize.load(sanitize);
    this.firmware.load(firmware);
  }

  /** Tells the host, where it wants to know. */
  private notify(notice: number, info: number, logPage: number): void {
    if ((this.context.features.asyncEventConfig & notice) === 0) return;
    this.context.events.raise(AsyncEventType.notice, info, logPage);
  }
}
