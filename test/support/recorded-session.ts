/** Recorded sessions of vfio-user clients: files with the messages that the server received. */
import { readFileSync } from "node:fs";
import type { Message } from "../../src/vfio-user/protocol/channel.js";
import { FLAG_NO_REPLY, TYPE_REPLY } from "../../src/vfio-user/protocol/protocol.js";
import { header } from "./raw-vfio-user-message.js";

/** A message of a client, and the number of descriptors that came with it. */
export interface RecordedMessage {
  readonly bytes: Buffer;
  readonly fds: number;
}

/** A message as a line: command, flags, number of descriptors, payload in hexadecimal digits. */
export function sessionLine({ command, isReply, noReply, fds, payload }: Message): string {
  const flags = (isReply ? TYPE_REPLY : 0) | (noReply ? FLAG_NO_REPLY : 0);
  return `${command} ${flags} ${fds.length} ${Buffer.from(payload).toString("hex")}`;
}

/** Reads the lines of {@link sessionLine}. Ids count from 1. @throws Error if the file is something else */
export function readSession(file: string): RecordedMessage[] {
  const lines = readFileSync(file, "utf8").trim().split("\n");
  return lines.map((line, i) => {
    const [, command, flags, fds, payload = ""] = /^(\d+) (\d+) (\d+) ([0-9a-f]*)$/.exec(line) ?? [];
    if (command === undefined) throw new Error(`${file}: line ${i + 1} is no message`);
    const fields = { id: (i + 1) & 0xffff, command: Number(command), flags: Number(flags) };
    return { bytes: header({ ...fields, payload: Buffer.from(payload, "hex") }), fds: Number(fds) };
  });
}
