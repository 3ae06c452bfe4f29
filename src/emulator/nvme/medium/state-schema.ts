/** Kinds of values that the descriptions of migration and persistent state share. Each part describes its own state. */
import * as z from "zod/mini";
import { lazily } from "../../../core/lazy.js";
import { integer, number } from "../../../core/options.js";

export const u1 = lazily(() => integer(0, 1));
export const u16 = lazily(() => integer(0, 0xffff));
export const u32 = lazily(() => integer(0, 0xffff_ffff));
/** A whole number that a JavaScript number holds exactly. */
export const count = lazily(() => integer(0));
/** A number of milliseconds or bytes, with a fraction or without. */
export const amount = lazily(() => number(0, Number.MAX_SAFE_INTEGER));
/** The part of something that is done: 0 to 1. */
export const fraction = lazily(() => number(0, 1));
/** The table of Autonomous Power State Transition, in hexadecimal. */
export const powerTable = lazily(() => z.string().check(z.regex(/^([0-9a-f]{2}){256}$/)));
export const pairs = lazily(() => z.array(z.tuple([u32(), u32()])).check(z.maxLength(1 << 20)));

/** @returns undefined if the text isn't JSON */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
