/** Errors of virtio devices. */
import { IovaError } from "iova";

/** The device broke the protocol, or refused what every driver needs. */
export class VirtioError extends IovaError {
  constructor(message: string) {
    super("ERR_VIRTIO", message);
  }
}
