/** The guest's end: a worker of the vitest that runs on the host. Started by worker.sh. */
import { writeSync } from "node:fs";
import { Socket } from "node:net";
import { init, runBaseTests, setupEnvironment } from "vitest/worker";
import { END, READY } from "./channel.js";
import { encodeFrame, FrameReader } from "./frames.js";

const OUT = 3;
const IN = 4;

type Listener = (message: unknown) => void;

const listeners = new Set<Listener>();
const reader = new FrameReader();
// Tests replace it.
const exit = process.exit.bind(process);

new Socket({ fd: IN, readable: true, writable: false }).on("data", (chunk: Buffer) => {
  for (const message of reader.read(chunk)) {
    if (message === END) exit(0);
    for (const listener of [...listeners]) listener(message);
  }
});

function post(message: unknown): void {
  const frame = encodeFrame(message);
  for (let sent = 0; sent < frame.length; ) sent += writeSync(OUT, frame, sent);
}

init({
  post,
  on: (listener: Listener) => void listeners.add(listener),
  off: (listener: Listener) => void listeners.delete(listener),
  runTests: async (state, traces) => {
    await runBaseTests("run", state, traces);
    process.exit = exit;
  },
  collectTests: (state, traces) => runBaseTests("collect", state, traces),
  setup: setupEnvironment,
});
writeSync(1, READY);
