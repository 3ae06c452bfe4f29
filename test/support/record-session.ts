/**
 * Loaded before a program that serves a vfio-user device (node --import). Writes what its clients send to the file
 * IOVA_RECORD_SESSION, which {@link readSession} reads. The program itself is unchanged.
 */
import { appendFileSync } from "node:fs";
import { Channel } from "../../src/vfio-user/protocol/channel.js";
import { sessionLine } from "./recorded-session.js";

const file = process.env["IOVA_RECORD_SESSION"];
if (file === undefined) throw new Error("IOVA_RECORD_SESSION names no file");
const { receive } = Channel.prototype;
Channel.prototype.receive = function receiveAndRecord(this: Channel) {
  const message = receive.call(this);
  if (message !== undefined) appendFileSync(file, `${sessionLine(message)}\n`);
  return message;
};
