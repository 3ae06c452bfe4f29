import { afterEach, beforeEach, expect, vi } from "vitest";
import { type Holdings, holdings } from "./holdings.js";

/** Ends only what never comes. */
const LIMIT_MS = 20_000;

/**
 * Every test of the file or describe block that calls this has to leave the process as it found it, within a moment:
 * the pipes of a child process go a little later than the child.
 */
export function expectNothingLeftSoon(): void {
  let before: Holdings;
  beforeEach(() => {
    before = holdings();
  });
  afterEach(async () => {
    await vi.waitFor(() => expect(holdings()).toEqual(before), { timeout: LIMIT_MS, interval: 20 });
  });
}
