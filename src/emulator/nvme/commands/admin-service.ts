/** A service behind admin commands brings its commands, log pages, features and saved state itself. */
import type * as z from "zod/mini";
import { ArgumentError } from "../../../core/errors.js";
import { Problems, read } from "../../../core/options.js";
import type { FirmwareReset } from "../medium/firmware-image.js";
import type { BackgroundWork } from "./background-work.js";
import type { FeatureHandler } from "./features.js";
import type { LogProvider } from "./log-page.js";

/** An admin command that the controller supports. */
export interface AdminCommand {
  /** Executes the current command. @returns a status, or PENDING */
  execute(): number;
  /** What it may change, as the Commands Supported and Effects log says it; nothing when left out. */
  readonly effects?: number;
  /** It is executed even during a sanitize operation and after one that failed. */
  readonly allowedDuringSanitize?: boolean;
  /** Lockdown can forbid it. */
  readonly lockable?: boolean;
}

/** Admin commands by opcode: the list of what is supported. */
export type AdminCommands = ReadonlyMap<number, AdminCommand>;

/** What a command did to a namespace. */
export type NamespaceChange = "formatted" | "attached" | "removed";

/** A service's part of a migration state. */
export interface SavedPart {
  /** Names the part in the state, where it stays readable: a name doesn't change. */
  readonly name: string;
  save(): unknown;
  /**
   * Checks a saved part. Nothing changes before the result is called, which loads it.
   * @throws ArgumentError if the part is invalid
   */
  prepare(saved: unknown): () => void;
}

/** @param schema of what `save` returns and `load` takes; `load` leaves background work paused */
export function savedPart<S extends z.core.$ZodType>(
  name: string,
  schema: () => S,
  save: () => z.output<S>,
  load: (saved: z.output<S>) => void,
): SavedPart {
  return {
    name,
    save,
    prepare: (saved) => {
      const checked = read(schema(), saved);
      if (checked instanceof Problems)
        throw new ArgumentError(`invalid saved state: services.${name}: ${checked.text}`);
      return () => load(checked);
    },
  };
}

/** A part of the controller with admin commands of its own. Members are left out if the service has no use for them. */
export interface AdminService {
  /** Its commands, by opcode. */
  readonly commands?: Readonly<Record<number, AdminCommand>>;
  /** Its log pages, by identifier. */
  readonly logPages?: Readonly<Record<number, LogProvider>>;
  /** Its features, by identifier. */
  readonly features?: Readonly<Record<number, FeatureHandler>>;
  /** What it does in the background: pauses with the controller and ends with it. */
  readonly work?: Pick<BackgroundWork, "pause" | "resume" | "stop">;
  /** Its state that moves with the controller. */
  readonly saved?: SavedPart;
  /** Status of the current admin command if the service forbids it; success otherwise. */
  refusal?(): number;
  /** The same for all I/O commands to a namespace; FFFFFFFFh for those to all namespaces. */
  ioRefusal?(nsid: number): number;
  /** A command changed a namespace. */
  namespaceChanged?(nsid: number, change: NamespaceChange): void;
  /** The controller executes commands from now on: it was enabled or plugged in again. */
  started?(): void;
  /** The controller was reset. */
  reset?(kind: FirmwareReset): void;
  /** The controller was shut down. */
  shutdown?(): void;
  /** The medium was opened, or its contents came from another emulator. */
  mediumLoaded?(): void;
}
