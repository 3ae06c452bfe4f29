/** What fat-files.ts uses of the npm library fatfs, which has no types of its own. */
declare module "fatfs" {
  import type { EventEmitter } from "node:events";

  type Done = (error?: Error | null) => void;

  /** A disk as a list of sectors. */
  export interface Volume {
    readonly sectorSize: number;
    readonly numSectors: number;
    readSectors(first: number, target: Uint8Array, done: Done): void;
    writeSectors(first: number, bytes: Uint8Array, done: Done): void;
  }

  /** The shape of `node:fs`, as far as the library has it. It emits `ready` or `error`. */
  export interface FatFileSystem extends EventEmitter {
    readdir(path: string, done: (error: Error | null, names: string[]) => void): void;
    readFile(path: string, done: (error: Error | null, bytes: Buffer) => void): void;
    writeFile(path: string, bytes: Uint8Array, done: (error: Error | null) => void): void;
  }

  export function createFileSystem(volume: Volume): FatFileSystem;
}
