/** The part of a controller's state that its admin services have: see saved-state.ts. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { integer, number } from "../../../core/options.js";
import { MAX_FIRMWARE_BYTES } from "../medium/firmware-image.js";
import { MAX_ANA_GROUPS } from "./asymmetric-access.js";

/** What a host can give. */
const MOST_HOST_MEMORY_BYTES = 2 ** 32;

/** What goes on in the background, and what commands have set that isn't a feature. */
export const savedServices = lazily(() => {
  const u16 = integer(0, 0xffff);
  const u32 = integer(0, 0xffff_ffff);
  const count = integer(0, Number.MAX_SAFE_INTEGER);
  /** The part of something that is done. */
  const part = number(0, 1);

  const savedSelfTest = z.nullable(
    z.strictObject({ code: integer(1, 2), nsid: u32, fails: z.boolean(), done: part }),
  );

  const savedSanitize = z.strictObject({ done: part, fails: z.boolean(), isErased: z.boolean() });

  const savedFirmware = z.strictObject({
    /** Downloaded and not committed: where, and base64. */
    pieces: z
      .array(z.tuple([integer(0, MAX_FIRMWARE_BYTES), z.base64().check(z.maxLength(MAX_FIRMWARE_BYTES * 2))]))
      .check(z.maxLength(1024)),
    overlap: integer(0, 1),
  });

  const savedCapture = z.nullable(
    z.strictObject({
      reason: z.string().check(z.maxLength(1024)),
      data: z.base64().check(z.maxLength(1 << 18)),
      ends: z.tuple([u16, u16, u16]),
    }),
  );

  const savedTelemetry = z.strictObject({
    host: savedCapture,
    controller: savedCapture,
    isAvailable: z.boolean(),
  });

  /** What the host has given, in bytes. */
  const savedHostMemory = z.nullable(
    z
      .strictObject({
        listAddress: count,
        segments: z
          .array(z.tuple([count, integer(4096, MOST_HOST_MEMORY_BYTES).check(z.multipleOf(4096))]))
          .check(z.minLength(1), z.maxLength(1024)),
      })
      .check(
        z.refine(
          ({ segments }) => segments.reduce((sum, [, bytes]) => sum + bytes, 0) <= MOST_HOST_MEMORY_BYTES,
        ),
      ),
  );

  /** By group: a value of AnaState, and when it was set. */
  const savedAccess = z.strictObject({
    groups: z.array(z.tuple([integer(1, 0xf), count])).check(z.maxLength(MAX_ANA_GROUPS)),
    changeCount: count,
  });

  /** Scope and identifier. */
  const savedLockdown = z.array(z.tuple([u16, u16])).check(z.maxLength(512));

  return z.strictObject({
    selfTest: savedSelfTest,
    sanitize: savedSanitize,
    firmware: savedFirmware,
    telemetry: savedTelemetry,
    hostMemory: savedHostMemory,
    access: savedAccess,
    lockdown: savedLockdown,
  });
});

export type SavedServices = z.output<ReturnType<typeof savedServices>>;
export type SavedSelfTest = SavedServices["selfTest"];
export type SavedSanitize = SavedServices["sanitize"];
export type SavedFirmware = SavedServices["firmware"];
export type SavedTelemetry = SavedServices["telemetry"];
export type SavedHostMemory = SavedServices["hostMemory"];
export type SavedAccess = SavedServices["access"];
export type SavedLockdown = SavedServices["lockdown"];
