import { describe, expect, test } from "vitest";
import { encodeFrame, FrameReader } from "../guest-pool/frames.js";

const messages = [
  { id: 1n, bytes: new Uint8Array([1, 2]) },
  "end",
  new Map([["a", [undefined, -0]]]),
  { text: "ü".repeat(70_000) },
];
const stream = Buffer.concat(messages.map(encodeFrame));

describe("messages between vitest and its worker in a guest", () => {
  test.each([1, 3, 5, 1000, stream.length])("arrive whole and in order in chunks of %i bytes", (size) => {
    const reader = new FrameReader();
    const arrived: unknown[] = [];
    for (let at = 0; at < stream.length; at += size)
      arrived.push(...reader.read(stream.subarray(at, at + size)));
    expect(arrived).toEqual(messages);
  });

  test("wait for their last byte", () => {
    const reader = new FrameReader();
    expect(reader.read(stream.subarray(0, encodeFrame(messages[0]).length - 1))).toEqual([]);
  });
});
