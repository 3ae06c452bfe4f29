/** Serves another controller of an emulated NVM subsystem. */
import { VfioUserServer, type VfioUserServerOptions } from "../vfio-user/server/server.js";
import type { EmulatedNvme } from "./nvme/controller.js";

/** The first controller closes the other; the server is the caller's. @throws BusyError, SysError */
export function servePeer(
  first: EmulatedNvme,
  socket: string,
  options: VfioUserServerOptions | undefined,
): VfioUserServer {
  const peer = first.peer();
  const server = new VfioUserServer(socket, peer, options);
  peer.onRemove = () => server.disconnect();
  return server;
}
