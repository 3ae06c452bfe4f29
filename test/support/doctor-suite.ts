/** What doctor() must find on the machines of the guest suite, and whether what it says of backends is true. */
import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { packageRoot } from "../../guest/paths.js";
import { type CheckState, type DoctorReport, doctor, type HostBackend } from "../../src/doors/host.js";
import { bindToVfio, PciDevice } from "../../src/index.js";
import { nvmeBdf } from "./functions.js";
import { unloadVfio } from "./vfio-modules.js";

interface Shape {
  /** What is found of the bound device's surroundings; left out if it isn't looked at. */
  readonly around?: Readonly<Record<string, RegExp>>;
  /** States of checks by their names, while the kernel's driver has the device. */
  readonly checks: Readonly<Record<string, CheckState>>;
  /** Steps of the first fix of checks by their names, where they matter. */
  readonly advice?: Readonly<Record<string, RegExp>>;
  /** Backends that work once the device is bound; undefined if it can't be bound. */
  readonly backends: readonly HostBackend[] | undefined;
}

const healthy: Shape["checks"] = {
  "kernel.vfio": "ok",
  "kernel.iommufd": "ok",
  "kernel.type1": "ok",
  "iommu.on": "ok",
  "iommu.interrupts": "ok",
  "modules.vfio-pci": "ok",
  "modules.unsafe": "ok",
  "nodes.iommufd": "ok",
  "nodes.container": "ok",
  "limits.memlock": "ok",
  "device.driver": "problem",
  "device.group": "ok",
};
const without: Shape["checks"] = {
  ...healthy,
  "iommu.on": "problem",
  "iommu.interrupts": "not-applicable",
  "device.group": "problem",
};
/** VFIO and its drivers are modules that nothing has loaded. */
const unloaded: Shape["checks"] = {
  ...healthy,
  "kernel.iommufd": "warning",
  "modules.vfio-pci": "problem",
  "nodes.iommufd": "not-applicable",
  "nodes.container": "problem",
};

/** By the machine's name in test/machines.ts. */
const shapes = {
  intel: {
    checks: healthy,
    backends: ["iommufd", "type1"],
    around: {
      "device.acs": /^isolated from other devices; no port is above it$/,
      "device.bus-reset": /^there is no reset of its bus$/,
      "device.unit": /^dmar\d+: intel-vtd: .*queued invalidation/,
      "runtime.device-rules": /^there are no device rules that can be read$/,
    },
  },
  lts: { checks: healthy, backends: ["iommufd", "type1"] },
  "iommufd-container": { checks: healthy, backends: ["iommufd", "type1"] },
  "no-remapping": { checks: { ...healthy, "iommu.interrupts": "problem" }, backends: [] },
  "no-iommu": { checks: without, backends: undefined },
  "iommu-off": { checks: without, backends: undefined },
  noiommu: {
    checks: { ...without, "iommu.on": "warning", "modules.unsafe": "warning", "device.group": "warning" },
    backends: ["noiommu"],
  },
  debian: {
    checks: unloaded,
    advice: { "modules.vfio-pci": /^modprobe vfio-pci$/m, "nodes.container": /^modprobe vfio-pci$/m },
    backends: ["type1"],
  },
  "no-modules": {
    checks: unloaded,
    advice: {
      "modules.vfio-pci":
        /^restart .*; else: sudo apt-get install --reinstall linux-image-6\.1\.0-\d+-amd64, then: sudo modprobe vfio-pci$/,
      "device.driver": /^first mend what the check modules\.vfio-pci found\nnpx iova bind /,
    },
    backends: undefined,
  },
  "no-vfio": {
    checks: {
      ...healthy,
      "kernel.vfio": "problem",
      "kernel.iommufd": "problem",
      "kernel.type1": "not-applicable",
      "modules.vfio-pci": "not-applicable",
      "nodes.container": "not-applicable",
    },
    advice: {
      "kernel.vfio": /^install or build a kernel with CONFIG_VFIO and CONFIG_VFIO_PCI, and start it$/,
    },
    backends: undefined,
  },
} as const satisfies Readonly<Record<string, Shape>>;

function stateOf(report: DoctorReport, id: string): CheckState | undefined {
  return report.checks.find((check) => check.id === id)?.state;
}

/** Steps of a check's first fix, one a line. */
function adviceOf({ checks }: DoctorReport, id: string): string | undefined {
  const [fix] = checks.find((check) => check.id === id)?.fixes ?? [];
  const texts = fix?.steps.map((step) =>
    step.kind === "manual" ? step.text : step.kind === "file" ? step.path : step.argv.join(" "),
  );
  return texts?.join("\n");
}

/** Whether a backend really opens a device. */
function opens(bdf: string, backend: HostBackend): boolean {
  try {
    PciDevice.open(bdf, { backend }).close();
    return true;
  } catch {
    return false;
  }
}

/** Tests of doctor() on one machine. */
export function doctorSuite(machine: keyof typeof shapes): void {
  const shape: Shape = shapes[machine];

  describe(`doctor() on the machine ${machine}`, () => {
    test("finds what the machine has and lacks", async () => {
      await unloadVfio();
      const report = doctor({ devices: [nvmeBdf()] });
      const states = Object.fromEntries(Object.keys(shape.checks).map((id) => [id, stateOf(report, id)]));
      expect(states).toEqual(shape.checks);
      expect(report.usable).toBe(false);
      for (const [id, pattern] of Object.entries(shape.advice ?? {}))
        expect(adviceOf(report, id)).toMatch(pattern);
    });

    const { backends: working } = shape;
    if (working === undefined) return;

    test("names the backends that open a bound device, and no others", () => {
      using binding = bindToVfio(nvmeBdf());
      const report = doctor({ devices: [binding.bdf] });
      for (const [id, found] of Object.entries(shape.around ?? {}))
        expect(report.checks.find((check) => check.id === id)?.found).toMatch(found);
      const all: readonly HostBackend[] = ["iommufd", "type1", "noiommu"];
      expect(report.devices).toEqual([{ bdf: binding.bdf, usable: working.length > 0, backends: working }]);
      expect(all.filter((backend) => opens(binding.bdf, backend))).toEqual(working);
      expect(doctor({ devices: [binding.bdf], user: "nobody" }).usable).toBe(false);
    });
  });
}

/** The `iova` command below other programs that restrict it. */
function runRestricted(
  program: string,
  ...args: readonly string[]
): { readonly status: number | null; readonly stdout: string } {
  const cli = join(packageRoot(), "dist/lib/cli.js");
  const { status, stdout } = spawnSync(
    program,
    [...args, process.execPath, cli, "doctor", "--json", nvmeBdf()],
    {
      encoding: "utf8",
    },
  );
  return { status, stdout };
}

/** States of checks that the command prints. */
function statesIn(json: string): Map<string, CheckState> {
  const report: DoctorReport = JSON.parse(json);
  return new Map(report.checks.map(({ id, state }) => [id, state]));
}

/** Tests of the command in surroundings that a machine can make for itself. */
export function restrictedDoctorSuite(): void {
  describe("iova doctor with restrictions", () => {
    test("ends with status 0 for root, and finds closed nodes and a small limit for an ordinary user", () => {
      using _ = bindToVfio(nvmeBdf());
      expect(runRestricted("env").status).toBe(0);
      const limited = [
        "--memlock=65536:65536",
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
      ];
      const { status, stdout } = runRestricted("prlimit", ...limited);
      expect(status).toBe(1);
      const states = statesIn(stdout);
      // /dev/vfio/vfio is open to all, so type1 would do.
      expect(states.get("nodes.iommufd")).toBe("warning");
      expect(states.get("device.nodes")).toBe("problem");
      expect(states.get("limits.memlock")).toBe("problem");
    });

    test("finds that a namespace lacks the nodes", () => {
      using _ = bindToVfio(nvmeBdf());
      const hide = 'mount -t tmpfs none /dev/vfio && exec "$0" "$@"';
      const { status, stdout } = runRestricted("unshare", "--mount", "sh", "-c", hide);
      expect(status).toBe(1);
      expect(statesIn(stdout).get("device.nodes")).toBe("problem");
      expect(execFileSync("ls", ["/dev/vfio"], { encoding: "utf8" })).not.toBe("");
    });
  });
}
