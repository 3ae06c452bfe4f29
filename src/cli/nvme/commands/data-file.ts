/** The data of `read` and `write`: a file, or `-` for standard output and input. */
import { type FileHandle, open } from "node:fs/promises";
import { ConfigError, IovaError } from "../../../core/errors.js";
import { OutputError } from "../../standard-output.js";

export const STANDARD = "-";

/** Says what failed with a file, and why. */
function reasonOf(what: string, file: string, error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  // Node's message repeats the path after the reason.
  return `${what} ${file}: ${text.split(", ", 1)[0]}`;
}

/** The command line names a file that can't be used. */
function unusable(file: string, error: unknown): ConfigError {
  return new ConfigError(reasonOf("opening", file, error), { cause: error });
}

/** Reading or writing an open file failed. */
function failed(what: string, file: string, error: unknown): IovaError {
  return new IovaError("ERR_IOVA_FILE", reasonOf(what, file, error), { cause: error });
}

/** A destination for bytes in order. */
export interface DataSink extends AsyncDisposable {
  write(bytes: Uint8Array): Promise<void>;
}

class StandardOutput implements DataSink {
  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      // A copy: the caller reuses its bytes while the stream may still hold them.
      process.stdout.write(Buffer.from(bytes), (error) => {
        if (error === null || error === undefined) resolve();
        else reject(new OutputError(error));
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

class FileSink implements DataSink {
  constructor(
    private readonly file: FileHandle,
    private readonly path: string,
  ) {}

  async write(bytes: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < bytes.length; ) {
        done += (await this.file.write(bytes, done)).bytesWritten;
      }
    } catch (error) {
      throw failed("writing", this.path, error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.file.close();
  }
}

/** @throws ConfigError if the file can't be created */
export async function openSink(path: string): Promise<DataSink> {
  if (path === STANDARD) return new StandardOutput();
  try {
    return new FileSink(await open(path, "w"), path);
  } catch (error) {
    throw unusable(path, error);
  }
}

/** A source of bytes in order. */
export interface DataSource extends AsyncDisposable {
  readonly name: string;
  /** Undefined if unknown. */
  readonly sizeBytes: number | undefined;
  /** @returns bytes read; fewer than the target's length only at the end */
  read(target: Uint8Array): Promise<number>;
}

class StandardInput implements DataSource {
  readonly name = "standard input";
  readonly sizeBytes = undefined;
  private readonly chunks = process.stdin[Symbol.asyncIterator]();
  private rest: Uint8Array = new Uint8Array(0);

  async read(target: Uint8Array): Promise<number> {
    let done = 0;
    while (done < target.length) {
      if (this.rest.length === 0) {
        const { value, done: ended } = await this.chunks.next();
        if (ended === true) break;
        this.rest = typeof value === "string" ? Buffer.from(value) : value;
        continue;
      }
      const part = this.rest.subarray(0, target.length - done);
      target.set(part, done);
      this.rest = this.rest.subarray(part.length);
      done += part.length;
    }
    return done;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // An open standard input would keep the process alive.
    process.stdin.destroy();
  }
}

class FileSource implements DataSource {
  constructor(
    private readonly file: FileHandle,
    readonly name: string,
    readonly sizeBytes: number | undefined,
  ) {}

  async read(target: Uint8Array): Promise<number> {
    let done = 0;
    try {
      while (done < target.length) {
        const { bytesRead } = await this.file.read(target, done, target.length - done, null);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
    } catch (error) {
      throw failed("reading", this.name, error);
    }
    return done;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.file.close();
  }
}

/** @throws ConfigError if the file can't be read */
export async function openSource(path: string): Promise<DataSource> {
  if (path === STANDARD) return new StandardInput();
  try {
    const file = await open(path, "r");
    try {
      const stat = await file.stat();
      if (stat.isDirectory()) throw new Error("is a folder");
      return new FileSource(file, path, stat.isFile() ? stat.size : undefined);
    } catch (error) {
      await file.close();
      throw error;
    }
  } catch (error) {
    throw unusable(path, error);
  }
}
