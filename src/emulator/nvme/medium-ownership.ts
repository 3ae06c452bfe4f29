/** Which emulator has the medium in a file: during a migration it goes from the source to the target. */
import { ConfigError } from "../../core/errors.js";
import type { Inventory } from "./medium/inventory.js";
import type { Medium } from "./medium/medium.js";

/** Takes the medium for this emulator, and gives it to the target of a migration. A medium in memory always belongs to its emulator. */
export class MediumOwnership {
  /** The file belongs to another emulator. */
  private isGiven: boolean;
  /** Another emulator may have changed the file since it was read. */
  private mustRead: boolean;

  /**
   * @param isIncoming the file still belongs to the source of a migration
   * @param reread the namespaces were read again from the file
   */
  constructor(
    private readonly medium: Medium,
    private readonly inventory: Inventory,
    isIncoming: boolean,
    private readonly reread: () => void,
  ) {
    this.isGiven = isIncoming && medium.canBeShared;
    this.mustRead = this.isGiven;
  }

  /** Locks the medium and reads its namespaces if another emulator had it. @returns false if another emulator has it, or it is damaged */
  take(): boolean {
    if (!this.isGiven) return true;
    const { medium, inventory } = this;
    if (!medium.own()) return false;
    try {
      if (this.mustRead || inventory.isStale) {
        inventory.load("the file");
        this.reread();
      }
    } catch (error) {
      medium.giveUp();
      if (error instanceof ConfigError) return false;
      throw error;
    }
    this.isGiven = false;
    this.mustRead = false;
    return true;
  }

  /** As {@link take}, from the source of a migration: its namespaces are read in any case. */
  takeFromSource(): boolean {
    this.mustRead = true;
    return this.take();
  }

  /** The target of a migration may have the medium. */
  give(): void {
    if (!this.medium.canBeShared || this.isGiven) return;
    this.medium.giveUp();
    this.isGiven = true;
  }
}
