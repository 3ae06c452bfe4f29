/** A vfio-user server and a client that send any bytes that a test chooses. */
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { UnixSocket } from "../../src/sys/unix-socket.js";
import { Channel, closeFds, type Message } from "../../src/vfio-user/protocol/channel.js";
import { compileTree } from "./compiled.js";
import { socketPath } from "./emulators.js";
import { header, type Lie, type RawOrder, type RawReport } from "./raw-vfio-user-message.js";

/**
 * A vfio-user server that answers wrongly on request. It has its own thread, because the client blocks the thread it runs
 * on.
 */
export class RawServer {
  private constructor(
    readonly path: string,
    private readonly worker: Worker,
    private readonly tree: Disposable,
  ) {}

  static async start(): Promise<RawServer> {
    const program = "test/support/raw-vfio-user-main.ts";
    const tree = compileTree(program);
    const path = socketPath();
    const worker = new Worker(pathToFileURL(tree.file(program)), { workerData: path });
    await nextMessage(worker);
    return new RawServer(path, worker, tree);
  }

  /** Replaces all earlier orders. */
  async tell(...lies: readonly Lie[]): Promise<void> {
    await this.order({ kind: "lie", lies });
  }

  /** The client's answers to the server's requests since tell(). */
  async seen(): Promise<readonly RawReport[]> {
    return (await this.order({ kind: "seen" })) as readonly RawReport[];
  }

  /** Ends once the server has closed its end of the connections that a client has closed. */
  async left(): Promise<void> {
    await this.order({ kind: "left" });
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.worker.once("exit", resolve));
    this.worker.postMessage({ kind: "close" });
    await ended;
    this.tree[Symbol.dispose]();
  }

  private async order(order: RawOrder): Promise<unknown> {
    const answer = nextMessage(this.worker);
    this.worker.postMessage(order);
    return await answer;
  }
}

function nextMessage(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => reject(error);
    worker.once("error", failed);
    worker.once("message", (message: unknown) => {
      worker.off("error", failed);
      resolve(message);
    });
  });
}

/** Only ends a wait that would never end. */
const LIMIT_MS = 540_000;
const SOME_BYTES = 64 * 1024;

/** A client that sends any bytes, for servers of this thread. */
export class RawClient implements Disposable {
  private readonly channel: Channel;
  private readonly kept: number[] = [];

  constructor(
    path: string,
    private readonly socket: UnixSocket = UnixSocket.connect(path),
  ) {
    this.channel = new Channel(socket, 4 * 1024 * 1024, LIMIT_MS);
  }

  /** Sends all of it in parts, so that the server gets its turns. */
  async send(bytes: Uint8Array, fds: readonly number[] = []): Promise<void> {
    const whole = Buffer.alloc(Math.max(128, bytes.length));
    whole.set(bytes);
    for (let done = 0; done < bytes.length; done += SOME_BYTES) {
      const part = whole.subarray(done, Math.min(done + SOME_BYTES, bytes.length));
      this.socket.send(part, done === 0 ? fds : [], LIMIT_MS);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** The next message, with its descriptors closed; undefined if the server closed the connection. */
  async receive(): Promise<Message | undefined> {
    const end = performance.now() + LIMIT_MS;
    for (;;) {
      let message: Message | undefined;
      try {
        message = this.channel.receive();
      } catch {
        return undefined;
      }
      if (message !== undefined) {
        closeFds(message.fds);
        return { ...message, payload: message.payload.slice() };
      }
      if (performance.now() > end) throw new Error("the server neither answers nor hangs up");
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /**
   * Takes what has arrived. Keeps descriptors until it is closed: without this end of a second socket the server would
   * think that the client has gone.
   * @returns messages; none if the server closed the connection
   */
  drain(): number {
    for (let count = 0; ; count++) {
      let message: Message | undefined;
      try {
        message = this.channel.receive();
      } catch {
        return count;
      }
      if (message === undefined) return count;
      this.kept.push(...message.fds);
    }
  }

  /** Sends a request and returns the answer. */
  async ask(
    command: number,
    payload: Uint8Array = new Uint8Array(0),
    fds: readonly number[] = [],
  ): Promise<Message | undefined> {
    await this.send(header({ id: 7, command, payload }), fds);
    return await this.receive();
  }

  /** Sends a request and returns the errno of the answer; undefined if the server closed the connection. */
  async errnoOf(command: number, payload?: Uint8Array, fds?: readonly number[]): Promise<number | undefined> {
    return (await this.ask(command, payload, fds))?.errno;
  }

  close(): void {
    closeFds(this.kept.splice(0));
    this.channel.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
