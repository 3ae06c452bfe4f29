/** `npm run soak -- --ios 10000000 --seed 1`: the long form of test/unit/nvme/engine/soak.test.ts. */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { growthOf, soak } from "./support/soak.js";

const { values } = parseArgs({
  options: { ios: { type: "string", default: "1000000" }, seed: { type: "string", default: "1" } },
});
const ios = Number(values.ios);
const seed = Number(values.seed);
if (!Number.isSafeInteger(ios) || ios < 1 || !Number.isSafeInteger(seed)) {
  throw new Error("--ios and --seed take whole numbers");
}
const result = await soak({
  ios,
  seed,
  iosPerIncident: 5000,
  programs: {
    main: fileURLToPath(new URL("./support/emulator-process-main.js", import.meta.url)),
    thread: new URL("../src/emulator/worker-main.js", import.meta.url),
  },
  report: (sample) => process.stdout.write(`${JSON.stringify(sample)}\n`),
});
const growth = growthOf(result.samples);
process.stdout.write(`${JSON.stringify({ ...result, samples: undefined, seed, growth })}\n`);
process.exitCode = growth.length === 0 ? 0 : 1;
