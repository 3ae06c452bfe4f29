/** Checks like those of holdings.ts, for tests whose child processes release resources a little later. */
import { afterEach, beforeEach, expect, vi } from "vitest";
import { type Holdings, holdings } from "./holdings.js";

/** Only ends a wait that would never end. */
const LIMIT_MS = 540_000;

/**
 * Every test of the file or describe block must leave the process as it was, within a moment: the pipes of a child process
 * close a little later than the child.
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
