/** What the parts that carry out admin commands have in common: each names its commands, log pages and features itself. */
import type { BackgroundWork } from "./background-work.js";
import type { FeatureHandler } from "./features.js";
import type { LogProvider } from "./log-page.js";

/** An admin command that the controller supports. */
export interface AdminCommand {
  /** Carries out the current command. @returns a status, or PENDING */
  execute(): number;
  /** What it may change, as the Commands Supported and Effects log says it; nothing when left out. */
  readonly effects?: number;
  /** It is carried out also while a sanitize operation runs, and after one that failed. */
  readonly allowedDuringSanitize?: boolean;
  /** Lockdown can forbid it. */
  readonly lockable?: boolean;
}

/** Admin commands by opcode: the list of what is supported. */
export type AdminCommands = ReadonlyMap<number, AdminCommand>;

/** A part of the controller with admin commands of its own. */
export interface AdminService {
  /** Its commands, by opcode. */
  readonly commands?: Readonly<Record<number, AdminCommand>>;
  /** Its log pages, by identifier. */
  readonly logPages?: Readonly<Record<number, LogProvider>>;
  /** Its features, by identifier. */
  readonly features?: Readonly<Record<number, FeatureHandler>>;
  /** What it does in the background: pauses with the controller and ends with it. */
  readonly work?: BackgroundWork;
}
