import { SelfTestResult } from "../../nvme/spec/log-pages.js";
import { AdminOpcode, AsyncEventInfo, AsyncEventType, LogPageId } from "../../nvme/spec/opcodes.js";
import { NvmeStatus } from "../../nvme/spec/status.js";
import type { AsyncEvents } from "./async-events.js";
import type { Command } from "./command.js";
import type { Inventory } from "./inventory.js";
import type { LogPages } from "./log-pages.js";
import type { Medium } from "./medium.js";
import type { NamespaceChange } from "./namespace-commands.js";
import type { NvmeEmulatorConfig } from "./options.js";
import type { SavedServices } from "./saved-state.js";
import { SelfTest } from "./self-test.js";

/** What the services need of their controller. */
export interface ServiceContext {
  readonly config: NvmeEmulatorConfig;
  readonly command: Command;
  readonly inventory: Inventory;
  readonly medium: Medium;
  readonly events: AsyncEvents;
  readonly logPages: LogPages;
}

/** Admin commands that have nothing to do with queues and namespaces, what they begin in the background, and their logs. */
export class AdminServices {
  private readonly selfTest: SelfTest;

  constructor(private readonly context: ServiceContext) {
    const { config, events, logPages } = context;
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
    logPages.provide(LogPageId.deviceSelfTest, { page: () => this.selfTest.page() });
  }

  /** @returns a status */
  execute(): number {
    switch (this.context.command.opcode) {
      case AdminOpcode.deviceSelfTest:
        return this.selfTest.execute();
      default:
        return NvmeStatus.invalidOpcode;
    }
  }

  namespaceChanged(nsid: number, change: NamespaceChange): void {
    if (change === "attached") return;
    const { abortedByFormat, abortedByNamespaceRemoval } = SelfTestResult;
    this.selfTest.namespaceGone(nsid, change === "formatted" ? abortedByFormat : abortedByNamespaceRemoval);
  }

  controllerReset(): void {
    this.selfTest.controllerReset();
  }

  /** What goes on stands still. */
  pause(): void {
    this.selfTest.pause();
  }

  resume(): void {
    this.selfTest.resume();
  }

  close(): void {
    this.selfTest.close();
  }

  save(): SavedServices {
    return { selfTest: this.selfTest.save() };
  }

  /** Puts it as it was saved; it goes on with resume(). */
  load({ selfTest }: SavedServices): void {
    this.selfTest.load(selfTest);
  }
}
