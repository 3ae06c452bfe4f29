/** An answer that is there when its time limit's timer runs late: the event loop runs timers before it looks at sockets. */
import { expect, test } from "vitest";
import { TimeoutError } from "../../../../src/core/errors.js";
import { UnixListener } from "../../../../src/sys/unix-socket.js";
import { Connection } from "../../../../src/vfio-user/client/connection.js";
import { Channel } from "../../../../src/vfio-user/protocol/channel.js";
import { Command } from "../../../../src/vfio-user/protocol/protocol.js";
import { encodeVersion } from "../../../../src/vfio-user/protocol/version.js";
import { caught } from "../../../support/caught.js";
import { socketPath } from "../../../support/emulators.js";

const TIMEOUT_MS = 1;

/** A connection that negotiates, and the server's end of it with the client's request taken. */
function negotiating(): {
  connection: Connection;
  server: Channel;
  id: number;
  done: Promise<void>;
} & Disposable {
  const path = socketPath();
  const listener = new UnixListener(path);
  const connection = new Connection(path, TIMEOUT_MS);
  const done = connection.negotiateAsync();
  const socket = listener.accept();
  if (socket === undefined) throw new Error("nobody connected");
  const server = new Channel(socket, 2 ** 20, 60_000);
  const request = server.receive();
  if (request === undefined) throw new Error("no request came");
  const close = (): void => {
    connection.close();
    server.close();
    listener.close();
  };
  return { connection, server, id: request.id, done, [Symbol.dispose]: close };
}

/** Blocks the thread until a timer of TIMEOUT_MS is due. */
function letTimersFallDue(): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20 * TIMEOUT_MS);
}

test("the answer to the greeting is taken", async () => {
  using made = negotiating();
  const { server, id, done } = made;
  server.send({ id, command: Command.version, isReply: true, parts: [encodeVersion()] });
  letTimersFallDue();
  await done;
});

test("without an answer, the wait ends with a TimeoutError", async () => {
  using made = negotiating();
  letTimersFallDue();
  expect(await caught(made.done)).toBeInstanceOf(TimeoutError);
});
