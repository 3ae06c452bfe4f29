/** A namespace as a file: the same operations on a file of the file system give the same results. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createGzip } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { NvmeFile } from "../../../../src/doors/nvme.js";
import { ArgumentError, ClosedError, SysError, UnsupportedError } from "../../../../src/index.js";
import { caught } from "../../../support/caught.js";
import { MIB, openController, useEmulatedNvme } from "../../../support/emulated-nvme.js";

useEmulatedNvme();

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "iova-file-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function openFile(options: Parameters<typeof openController>[0] = {}): Promise<NvmeFile> {
  const nvme = await openController({ sizeBytes: MIB, maxTransferBytes: 8192, ...options });
  return (await nvme.namespace(1)).openFile();
}

/** Numbers from a seed, so that a failure can be repeated. */
function numbersFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return Math.floor((state / 0x8000_0000) * below);
  };
}

/** What both have. */
interface Operations {
  read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ bytesRead: number; buffer: Buffer }>;
  read(
    buffer: Buffer,
    options: { offset?: number; position?: number },
  ): Promise<{ bytesRead: number; buffer: Buffer }>;
  readv(buffers: Buffer[], position: number): Promise<unknown>;
  write(buffer: Buffer, offset?: number, length?: number, position?: number): Promise<unknown>;
  write(text: string, position?: number, encoding?: BufferEncoding): Promise<unknown>;
  writev(buffers: Buffer[], position?: number): Promise<unknown>;
}

describe("NvmeFile does what FileHandle does", () => {
  test.each([512, 4096] as const)(
    "with any offsets and lengths, on blocks of %i bytes",
    async (blockSizeBytes) => {
      const file = await openFile({ blockSizeBytes });
      const model = await open(join(folder, `model-${blockSizeBytes}`), "w+");
      try {
        await model.truncate(file.sizeBytes);
        const next = numbersFrom(blockSizeBytes);
        for (let i = 0; i < 300; i++) {
          const kind = next(6);
          // Near both ends, too.
          const at = next(3) === 0 ? file.sizeBytes - 1 - next(9000) : next(20_000);
          const bytes = randomBytes(next(12_000));
          const cut = next(bytes.length + 1);
          const room = Math.min(bytes.length, file.sizeBytes - at);
          const run = async (target: Operations): Promise<unknown> => {
            const own = Buffer.from(bytes);
            if (kind === 0) return await target.read(own, 0, own.length, at);
            if (kind === 1) return await target.read(own, { offset: cut, position: at });
            if (kind === 2) return await target.readv([own.subarray(0, cut), own.subarray(cut)], at);
            if (kind === 3) return await target.write(own, 0, room, at);
            if (kind === 4)
              return await target.writev(
                [own.subarray(0, Math.min(cut, room)), own.subarray(cut, Math.max(cut, room))],
                at,
              );
            return await target.write("grüße", at % 1000, "utf8");
          };
          expect(await run(file), `operation ${i}`).toEqual(await run(model));
        }
        const [ours, theirs] = await Promise.all(
          [file, model].map((each: Operations) => each.read(Buffer.alloc(file.sizeBytes), { position: 0 })),
        );
        expect(ours?.buffer.equals(theirs?.buffer ?? Buffer.alloc(0))).toBe(true);
      } finally {
        await model.close();
      }
    },
  );

  test("without a position, from where the last operation ended", async () => {
    const file = await openFile();
    const model = await open(join(folder, "position"), "w+");
    try {
      const run = async (target: Operations): Promise<unknown[]> => [
        await target.write("one "),
        await target.write(Buffer.from("xtwo"), 1),
        await target.write("first", 1000),
        await target.writev([Buffer.from(" thr"), Buffer.from("ee")]),
        (await target.read(Buffer.alloc(9), 0, 9, 0)).buffer.toString(),
        await target.read(Buffer.alloc(2), 0, 2, 1001),
      ];
      expect(await run(file)).toEqual(await run(model));
    } finally {
      await model.close();
    }
  });

  test("reads a Buffer of its own, and nothing at the end", async () => {
    const file = await openFile();
    const { bytesRead, buffer } = await file.read();
    expect([bytesRead, buffer.length]).toEqual([16_384, 16_384]);
    expect(await file.read(Buffer.alloc(4), { position: file.sizeBytes })).toMatchObject({ bytesRead: 0 });
    expect((await file.read(Buffer.alloc(4), { position: file.sizeBytes - 1 })).bytesRead).toBe(1);
    expect(await file.stat()).toEqual({ size: file.sizeBytes, blksize: 512 });
  });
});

test("operations that overlap run in order, so that neighbours in a block keep their bytes", async () => {
  const file = await openFile();
  const writes = Array.from({ length: 200 }, (_, i) => file.write(Buffer.alloc(7, i + 1), 0, 7, i * 7));
  const read = file.read(Buffer.alloc(1400), { position: 0 });
  const later = file.write(Buffer.alloc(1400), { position: 0 });
  await Promise.all(writes);
  const { buffer } = await read;
  for (let i = 0; i < 200; i++) expect(buffer.subarray(i * 7, i * 7 + 7)).toEqual(Buffer.alloc(7, i + 1));
  await later;
  expect((await file.read(Buffer.alloc(1400), { position: 0 })).buffer).toEqual(Buffer.alloc(1400));
});

test.each(["sync", "datasync"] as const)(
  "%s() waits for the writes under way, and flushes",
  async (method) => {
    const file = await openFile();
    const written: number[] = [];
    const writes = [1, 2, 3].map((value) =>
      file.write(Buffer.alloc(3000, value), 0, 3000, value * 10_000).then(() => written.push(value)),
    );
    await file[method]();
    expect(written.toSorted()).toEqual([1, 2, 3]);
    await Promise.all(writes);
  },
);

describe("streams of a file", () => {
  test("carry what programs for files write and read", async () => {
    const file = await openFile();
    const lines = Array.from({ length: 20_000 }, (_, i) => `line ${i}`);
    await pipeline(
      Readable.from(lines.map((line) => `${line}\n`)),
      createGzip(),
      file.createWriteStream({ start: 777, flush: true }),
    );
    const got: string[] = [];
    // gunzip takes what lies behind the end of the data for garbage, and ignores it.
    const source = file.createReadStream({ start: 777 });
    for await (const line of createInterface({ input: source.pipe(createGunzip()) })) {
      got.push(line);
      if (got.length === lines.length) break;
    }
    source.destroy();
    await once(source, "close");
    expect(got).toEqual(lines);
  });

  test("have a start, an end and pieces of any length", async () => {
    const file = await openFile();
    const bytes = randomBytes(50_000);
    await file.write(bytes, 0, bytes.length, 100);
    const pieces: Buffer[] = [];
    for await (const piece of file.createReadStream({ start: 133, end: 40_000, highWaterMark: 1111 }))
      pieces.push(piece);
    expect(Buffer.concat(pieces).equals(bytes.subarray(33, 39_901))).toBe(true);
    const nothing: Buffer[] = [];
    for await (const piece of file.createReadStream({ start: 5, end: 4 })) nothing.push(piece);
    expect(nothing).toEqual([]);
  });

  test("are web streams, too", async () => {
    const file = await openFile();
    await file.write("web", 0);
    const bytes = new Uint8Array(await new Response(file.readableWebStream()).arrayBuffer());
    expect(bytes.length).toBe(file.sizeBytes);
    expect(Buffer.from(bytes.subarray(0, 3)).toString()).toBe("web");
    await file.readableWebStream().cancel();
  });
});

describe("what a file can't do is refused", () => {
  test("a write beyond the end, with nothing written", async () => {
    const file = await openFile();
    const error = await caught(file.write(Buffer.alloc(8, 1), { position: file.sizeBytes - 7 }));
    expect(error).toBeInstanceOf(SysError);
    expect(error).toMatchObject({ code: "ENOSPC" });
    expect((await file.read(Buffer.alloc(7), { position: file.sizeBytes - 7 })).buffer).toEqual(
      Buffer.alloc(7),
    );
  });

  test.each<[string, (file: NvmeFile) => Promise<unknown>]>([
    ["a negative position", (file) => file.read(Buffer.alloc(1), { position: -2 })],
    ["an offset beyond the buffer", (file) => file.read(Buffer.alloc(1), 2)],
    ["a length beyond the buffer", (file) => file.write(Buffer.alloc(4), 1, 4, 0)],
    ["an option that there isn't", (file) => Reflect.apply(file.read, file, [Buffer.alloc(1), { pos: 1 }])],
    ["an array", (file) => Reflect.apply(file.write, file, [[1, 2]])],
    ["an encoding that there isn't", (file) => Reflect.apply(file.write, file, ["text", 0, "morse"])],
  ])("%s", async (_, attempt) => {
    expect(await caught(attempt(await openFile()))).toBeInstanceOf(ArgumentError);
  });

  test("after close(), which waits for what is under way", async () => {
    const file = await openFile();
    const write = file.write(Buffer.alloc(100_000, 5), { position: 0 });
    await file.close();
    await write;
    expect(await caught(file.read())).toBeInstanceOf(ClosedError);
    expect(() => file.createReadStream()).toThrow(ClosedError);
  });

  test("namespaces with metadata or zones are no files", async () => {
    const withMetadata = await (await openController({ metadataBytes: 64 })).namespace(1);
    expect(() => withMetadata.openFile()).toThrow(UnsupportedError);
    const controller = await openController({ zoned: { zoneSizeBytes: MIB } });
    for (const zoned of [await controller.zonedNamespace(1), await controller.namespace(1)]) {
      expect(() => zoned.openFile()).toThrow(UnsupportedError);
      expect(() => zoned.openFile()).toThrow("is zoned, so it can't be written like a file");
    }
  });
});
