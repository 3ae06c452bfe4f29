/** Quirks that forbid admin commands: without the quirk a command is sent, with it none is. */
import { afterEach, expect, test } from "vitest";
import { UnsupportedError } from "../../../../src/core/errors.js";
import { NvmeFeatures } from "../../../../src/nvme/admin/features.js";
import { NvmeSecurity } from "../../../../src/nvme/admin/security.js";
import { NvmeStructures } from "../../../../src/nvme/admin/structures.js";
import type { NvmeQuirkName } from "../../../../src/nvme/quirks/quirks.js";
import { FeatureId, IdentifyCns } from "../../../../src/nvme/spec/opcodes.js";
import { caught } from "../../../support/caught.js";
import { RecordingController } from "../../../support/recording-controller.js";

type Use = (controller: RecordingController) => Promise<unknown>;

const controllers: RecordingController[] = [];

afterEach(() => {
  for (const { dma } of controllers.splice(0)) dma.close();
});

function record(identify: ConstructorParameters<typeof RecordingController>[0]): RecordingController {
  const controller = new RecordingController(identify);
  controllers.push(controller);
  return controller;
}

const SECURITY = 1;
const DEEPEST = 4;
const transition = (powerState: number) => [{ powerState, milliseconds: 100 }];
const features = (controller: RecordingController) => new NvmeFeatures(controller);
const powerTransitions = (controller: RecordingController) => features(controller).structures;
const threshold = FeatureId.temperatureThreshold;

const forbidden: readonly (readonly [NvmeQuirkName, string, Use])[] = [
  ["no-security", "Security Send", (c) => new NvmeSecurity(c).send({ protocol: 1 }, new Uint8Array(4))],
  ["no-security", "Security Receive", (c) => new NvmeSecurity(c).receive({ protocol: 1 }, 512)],
  ["no-apst", "transitions by itself", (c) => powerTransitions(c).setPowerTransitions(true, transition(1))],
  [
    "no-deepest-power-state",
    "a transition to the deepest state",
    (c) => powerTransitions(c).setPowerTransitions(true, transition(DEEPEST)),
  ],
  ["no-deepest-power-state", "the deepest state", (c) => features(c).set(FeatureId.powerManagement, DEEPEST)],
  ["no-temperature-threshold", "setting a threshold", (c) => features(c).setTemperatureThreshold(350)],
  ["no-sensor-thresholds", "reading a sensor's", (c) => features(c).get(threshold, { cdw11: 1 << 16 })],
  ["no-sensor-thresholds", "setting a sensor's", (c) => features(c).set(threshold, (1 << 16) | 350)],
  ["cns-0-and-1", "a list of controllers", (c) => new NvmeStructures(c).controllers()],
  [
    "no-namespace-descriptors",
    "descriptors of a namespace",
    (c) => new NvmeStructures(c).read(IdentifyCns.namespaceDescriptors, { nsid: 1 }),
  ],
];

test.each(forbidden)("%s forbids %s", async (quirk, _, use) => {
  const controller = record({ oacs: SECURITY, npss: DEEPEST });
  await use(controller);
  expect(controller.commands).toHaveLength(1);
  controller.quirks.add(quirk);
  const error = await caught(use(controller));
  expect(error).toBeInstanceOf(UnsupportedError);
  expect(String(error)).toContain(quirk);
  expect(controller.commands).toHaveLength(1);
});

const allowed: readonly (readonly [NvmeQuirkName, string, Use])[] = [
  ["no-apst", "that transitions are disabled", (c) => powerTransitions(c).setPowerTransitions(false, [])],
  [
    "no-deepest-power-state",
    "a transition to another state",
    (c) => powerTransitions(c).setPowerTransitions(true, transition(DEEPEST - 1)),
  ],
  ["no-deepest-power-state", "another state", (c) => features(c).set(FeatureId.powerManagement, 0)],
  ["no-temperature-threshold", "reading a threshold", (c) => features(c).temperatureThreshold()],
  ["no-sensor-thresholds", "the composite threshold", (c) => features(c).setTemperatureThreshold(350)],
  ["cns-0-and-1", "Identify Namespace", (c) => new NvmeStructures(c).namespace(1)],
];

test.each(allowed)("%s allows %s", async (quirk, _, use) => {
  const controller = record({ npss: DEEPEST });
  controller.quirks.add(quirk);
  await use(controller);
  expect(controller.commands).toHaveLength(1);
});
