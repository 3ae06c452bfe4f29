/** The structures of Identify beyond those that admin.ts looks at. */
import { hexDigits } from "../../../../core/hex-digits.js";
import type { Ctratt } from "../../../../nvme/spec/capabilities.js";
import type { IdentifyController } from "../../../../nvme/spec/identify.js";
import { AdminOpcode, BROADCAST_NSID, CommandSet, IdentifyCns } from "../../../../nvme/spec/opcodes.js";
import { NvmeRegister } from "../../../../nvme/spec/registers.js";
import { NvmeStatus } from "../../../../nvme/spec/status.js";
import { type ConformBench, VERSION_1_1 } from "../bench.js";
import { subjectOf } from "../check.js";
import { expect, expectSame, needs } from "../findings.js";
import { promises, VERSION_1_2, VERSION_1_3, VERSION_2_0 } from "./promises.js";
import { refused } from "./refusals.js";

const IDENTIFY = "Base: Identify command";
const { identify } = AdminOpcode;
const { invalidField, invalidNamespace } = NvmeStatus;

type Has = (controller: IdentifyController, version: number) => boolean;
const managed: Has = (controller, version) =>
  version >= VERSION_1_2 && promises.oacs(controller, "namespaceManagement");
const attribute =
  (name: keyof typeof Ctratt): Has =>
  (controller, version) =>
    version >= VERSION_1_3 && promises.ctratt(controller, name);
const virtual: Has = (controller, version) =>
  version >= VERSION_1_3 && promises.oacs(controller, "virtualizationManagement");
const since20: Has = (_, version) => version >= VERSION_2_0;
const never: Has = () => false;

/** Structures beyond those that admin.ts looks at: who must have them, and whether they are of a namespace. */
const structures: readonly (readonly [cns: keyof typeof IdentifyCns, has: Has, ofNamespace: boolean])[] = [
  ["nvmSets", attribute("nvmSets"), false],
  ["namespaceForCommandSet", since20, true],
  ["controllerForCommandSet", since20, false],
  ["activeNamespacesForCommandSet", since20, false],
  ["namespaceIndependent", since20, true],
  ["allocatedNamespaces", managed, false],
  ["allocatedNamespace", managed, true],
  ["controllersOfNamespace", managed, true],
  ["controllers", managed, false],
  ["primaryController", virtual, false],
  ["secondaryControllers", virtual, false],
  ["namespaceGranularity", attribute("namespaceGranularity"), false],
  ["uuids", attribute("uuidList"), false],
  ["domains", never, false],
  ["enduranceGroups", attribute("enduranceGroups"), false],
  ["commandSets", since20, false],
];

const words = (page: Uint8Array): Uint32Array => new Uint32Array(page.buffer, page.byteOffset, 1024);

const page =
  (cns: number, nsid: number, since = 0) =>
  (bench: ConformBench) => {
    needs(bench.bar.read32(NvmeRegister.VS) >= since, "it came with a later version");
    return { opcode: identify, nsid, data: bench.alloc(4096), cdw: [cns] };
  };

export const identifyPages = subjectOf("structures of Identify", [
  ...structures.map(
    ([cns, has, ofNamespace]) =>
      [
        `Identify ${hexDigits(IdentifyCns[cns], 2)}h (${cns}) is whole and the same twice, or not there`,
        IDENTIFY,
        async (bench: ConformBench) => {
          const controller = await bench.controller();
          const must = has(controller, bench.bar.read32(NvmeRegister.VS));
          const nsid = ofNamespace ? (await bench.blocks()).nsid : 0;
          const pages = [bench.alloc(4096), bench.alloc(4096)] as const;
          for (const [i, data] of pages.entries()) {
            data.bytes.fill(i === 0 ? 0x55 : 0xaa);
            // FFFFh is this controller.
            const cdw = [(IdentifyCns[cns] | (cns === "commandSets" ? 0xffff_0000 : 0)) >>> 0];
            const fields = { opcode: identify, nsid, data, cdw };
            const { status } = await bench.send(await bench.admin(), fields);
            needs(must || status !== invalidField, "it isn't there");
            expect(status === 0, `status ${hexDigits(status, 3)}h`);
          }
          expectSame(pages[0].bytes, pages[1].bytes);
        },
      ] as const,
  ),
  [
    "each active namespace is among the allocated ones",
    IDENTIFY,
    async (bench) => {
      needs(
        managed(await bench.controller(), bench.bar.read32(NvmeRegister.VS)),
        "there is no namespace management (OACS)",
      );
      const active = words(await bench.identify(IdentifyCns.activeNamespaces));
      const allocated = words(await bench.identify(IdentifyCns.allocatedNamespaces));
      const missing = active.filter((id) => id !== 0 && !allocated.includes(id));
      expect(missing.length === 0, `${missing.join()} isn't allocated`);
    },
  ],
  [
    "this controller is among the controllers of the subsystem and of the namespace",
    IDENTIFY,
    async (bench) => {
      const controller = await bench.controller();
      needs(
        managed(controller, bench.bar.read32(NvmeRegister.VS)),
        "there is no namespace management (OACS)",
      );
      const { nsid } = await bench.blocks();
      for (const [cns, id] of [
        [IdentifyCns.controllers, 0],
        [IdentifyCns.controllersOfNamespace, nsid],
      ] as const) {
        const list = await bench.identify(cns, id);
        const [count = 0, ...ids] = new Uint16Array(list.buffer, list.byteOffset, 2048);
        const has = ids.slice(0, count).includes(controller.cntlid);
        expect(has, `CNS ${hexDigits(cns, 2)}h lacks ${controller.cntlid}`);
      }
    },
  ],
  refused("Identify of namespace 0", IDENTIFY, page(IdentifyCns.namespace, 0), invalidNamespace),
  refused(
    "a list of namespaces after FFFFFFFEh",
    IDENTIFY,
    page(IdentifyCns.activeNamespaces, BROADCAST_NSID - 1, VERSION_1_1),
    invalidNamespace,
  ),
  refused(
    "a list of namespaces after FFFFFFFFh",
    IDENTIFY,
    page(IdentifyCns.activeNamespaces, BROADCAST_NSID, VERSION_1_1),
    invalidNamespace,
  ),
  refused(
    "descriptors of namespace 0",
    IDENTIFY,
    page(IdentifyCns.namespaceDescriptors, 0, VERSION_1_3),
    invalidNamespace,
  ),
  refused(
    "a structure of an unknown command set",
    IDENTIFY,
    async (bench) => {
      needs(bench.bar.read32(NvmeRegister.VS) >= VERSION_2_0, "command sets came with version 2.0");
      return { ...page(IdentifyCns.controllerForCommandSet, 0)(bench), cdw: [6, 0x2f << 24] };
    },
    invalidField,
    NvmeStatus.invalidIoCommandSet,
  ),
  [
    "the command sets of a namespace are NVM's",
    "Base: I/O Command Sets",
    async (bench) => {
      needs(bench.bar.read32(NvmeRegister.VS) >= VERSION_2_0, "command sets came with version 2.0");
      const { nsid } = await bench.blocks();
      const list = words(
        await bench.identify(IdentifyCns.activeNamespacesForCommandSet, nsid - 1, CommandSet.nvm),
      );
      expect(list[0] === nsid, `namespace ${list[0]} comes first`);
    },
  ],
]);
