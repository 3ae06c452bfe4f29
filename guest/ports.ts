/** The socket connections between the guest's command and this process. */
import { createServer, type Server, type Socket } from "node:net";
import type { Port } from "./qemu.js";

/** QEMU's connection for each port; undefined if it never connected. */
export type Connections = { readonly [port in Port]: Promise<Socket | undefined> } & {
  /** Stops waiting for connections. */
  close(): void;
};

/** Listens at one socket for each virtio port of the guest; QEMU connects to them when it starts. */
export async function listenOnPorts(paths: Readonly<Record<Port, string>>): Promise<Connections> {
  const servers: Server[] = [];
  const listen = async (path: string): Promise<{ connection: Promise<Socket | undefined> }> => {
    const server = createServer();
    servers.push(server);
    const connection = new Promise<Socket | undefined>((resolve) => {
      server.once("connection", (socket) => {
        resolve(socket);
        server.close();
      });
      server.once("close", () => resolve(undefined));
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
    return { connection };
  };
  const [control, stdout, stderr] = await Promise.all([
    listen(paths.control),
    listen(paths.stdout),
    listen(paths.stderr),
  ]);
  return {
    control: control.connection,
    stdout: stdout.connection,
    stderr: stderr.connection,
    close: () => {
      for (const server of servers) server.close();
    },
  };
}
