/** What the two ends of a guest's test run know of each other: vitest on this host, its worker in the guest. */
import { fileURLToPath } from "node:url";

/** The virtio port between the two. */
const PORT_NAME = "iova.tests";
/** Environment variable of vitest: the socket of that port. Without it, the guest suite runs where vitest does. */
export const SOCKET_VARIABLE = "IOVA_GUEST_TESTS";
/** What the worker prints once it waits for its first message. */
export const READY = "waiting for tests\n";
/** The last message to a worker. */
export const END = "end";

/** QEMU's arguments for the port. QEMU listens at the socket. */
export function portArguments(socket: string): string[] {
  return [
    ...["-chardev", `socket,id=iova-tests,path=${socket.replaceAll(",", ",,")},server=on,wait=off`],
    ...["-device", `virtserialport,bus=iova-serial.0,nr=4,chardev=iova-tests,name=${PORT_NAME}`],
  ];
}

/**
 * The guest's command. `--expose-gc` is for tests. Without baseline code, V8 writes less machine code, which QEMU has to
 * translate again each time: tests take three quarters of the processor's time.
 */
export function workerCommand(): string[] {
  const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
  const flags = ["--expose-gc", "--experimental-import-meta-resolve", "--no-sparkplug", "--max-lazy"];
  const program = [process.execPath, ...flags, here("worker.js")];
  return ["sh", here("../../../test/guest-pool/worker.sh"), PORT_NAME, ...program];
}

/** The environment that vitest gives its own workers. */
export const WORKER_ENVIRONMENT = { TEST: "true", VITEST: "true", NODE_ENV: "test", VITEST_MODE: "RUN" };
