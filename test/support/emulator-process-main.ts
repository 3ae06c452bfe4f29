/** A process with an emulated controller, which a test restarts: see emulator-process.ts. Its parent sends orders. */
import { type EmulatorOrder, type EmulatorRequest, startEmulator } from "../../src/emulator/worker.js";

const [request = "", program = ""] = process.argv.slice(2);
const wanted: EmulatorRequest = JSON.parse(request);
const emulator = await startEmulator(wanted, new URL(program));

const answer = (error?: unknown): void => {
  process.send?.({ error: error === undefined ? undefined : String(error) });
};

process.on("message", (order: EmulatorOrder) => {
  emulator.order(order).then(() => answer(), answer);
});
process.on("disconnect", () => void emulator.close());
answer();
