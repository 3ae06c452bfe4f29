/** The host's end: vitest runs here, where starting it and compiling the tests is quick, and has its worker in a guest. */
import { connect, type Socket } from "node:net";
import type { PoolOptions, PoolRunnerInitializer, PoolWorker, WorkerRequest } from "vitest/node";
import { END } from "./channel.js";
import { encodeFrame, FrameReader } from "./frames.js";

/** A worker behind a socket. */
class GuestWorker implements PoolWorker {
  readonly name = "guest";
  readonly #path: string;
  #socket: Socket | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  get #connected(): Socket {
    if (this.#socket === undefined)
      throw new Error(`there is no connection to ${this.#path}; start the worker first`);
    return this.#socket;
  }

  async start(): Promise<void> {
    if (this.#socket !== undefined) return;
    const socket = connect(this.#path);
    await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    this.#socket = socket;
    const reader = new FrameReader();
    socket.on("data", (chunk: Buffer) => {
      for (const message of reader.read(chunk)) socket.emit("message", message);
    });
    socket.once("close", () => socket.emit("exit"));
  }

  send(message: WorkerRequest): void {
    this.#connected.write(encodeFrame(message));
  }

  async stop(): Promise<void> {
    const socket = this.#connected;
    if (!socket.destroyed) await new Promise<void>((resolve) => socket.end(encodeFrame(END), resolve));
    this.#socket = undefined;
  }

  deserialize(data: unknown): unknown {
    return data;
  }

  on(event: string, callback: (arg: unknown) => void): void {
    this.#connected.on(event, callback);
  }

  off(event: string, callback: (arg: unknown) => void): void {
    this.#connected.off(event, callback);
  }
}

/** @param socket of the port that `portArguments` made; the worker must have said that it is ready */
export function guestPool(socket: string): PoolRunnerInitializer {
  return { name: "guest", createPoolWorker: (_options: PoolOptions) => new GuestWorker(socket) };
}
