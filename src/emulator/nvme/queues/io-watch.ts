/** What a part of the controller does before I/O commands are executed. There is none on an ordinary controller. */
import type { EmulatedSq } from "./queues.js";

/**
 * Looks at an I/O queue that has commands, before they are executed.
 * @param tail the queue's doorbell
 * @returns false if the controller has failed
 */
export type IoWatch = (sq: EmulatedSq, tail: number) => boolean;
