/**
 * Loaded before a program that serves a vfio-user device (node --import): what its clients send goes into the file
 * IOVA_RECORD_SESSION, as {@link readSession} reads it. The program itself is the one that everybody runs.
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
