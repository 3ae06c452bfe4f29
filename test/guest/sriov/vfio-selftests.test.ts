/**
 * vfio_pci_sriov_uapi_test.c of the kernel's self-tests, in our words: a virtual function is opened by whoever knows the
 * secret of its physical function. The device is an nvme with SR-IOV.
 */
import { readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { setVfToken } from "../../../src/doors/vfio.js";
import { ArgumentError, bindToVfio, UnsupportedError, type VfioBinding } from "../../../src/index.js";
import { driverOf } from "../../../src/pci/sysfs.js";
import { sysError } from "../../support/errors.js";
import { eduBdf, sriovNvmeBdf } from "../../support/functions.js";
import { expectNothingLeft } from "../../support/holdings.js";
import { openMode, type VfioMode, vfioModes } from "../../support/vfio-modes.js";

const UUID_1 = "52ac9bff-3a88-4fbd-901a-0d767c3b6c97";
const UUID_2 = "88594674-90a0-47a9-aea8-9d9b352ac08a";
const ENABLE_SRIOV = "/sys/module/vfio_pci/parameters/enable_sriov";

const bindings: VfioBinding[] = [];
let vf = "";
let enabled = "";
const setVfs = (count: number): void =>
  writeFileSync(`/sys/bus/pci/devices/${sriovNvmeBdf()}/sriov_numvfs`, String(count));

beforeAll(() => {
  enabled = readFileSync(ENABLE_SRIOV, "utf8").trim();
  writeFileSync(ENABLE_SRIOV, "Y");
  for (const bdf of [sriovNvmeBdf(), eduBdf()]) bindings.push(bindToVfio(bdf));
  setVfs(1);
  vf = basename(readlinkSync(`/sys/bus/pci/devices/${sriovNvmeBdf()}/virtfn0`));
});
afterAll(() => {
  setVfs(0);
  for (const binding of bindings) binding.close();
  writeFileSync(ENABLE_SRIOV, enabled);
});

describe("a virtual function of a physical function that is bound to VFIO", () => {
  test("is bound to VFIO as well", () => {
    expect(vf).not.toBe(sriovNvmeBdf());
    expect(driverOf(vf)).toBe("vfio-pci");
  });
});

/** Which call says no to a token, and how. */
function refusal(mode: VfioMode, code: "EACCES" | "EINVAL" = "EACCES"): unknown {
  if (code === "EINVAL") {
    return mode === "iommufd"
      ? sysError("VFIO_DEVICE_BIND_IOMMUFD", "EINVAL")
      : sysError("VFIO_GROUP_GET_DEVICE_FD", "EINVAL");
  }
  return mode === "iommufd"
    ? sysError("VFIO_DEVICE_BIND_IOMMUFD", "EACCES")
    : sysError("VFIO_GROUP_GET_DEVICE_FD", "EACCES");
}

const tokens = [
  { name: "same_uuid", token: UUID_1 },
  { name: "diff_uuid", token: UUID_2 },
  { name: "null_uuid", token: undefined },
] as const;

describe.each(vfioModes)("virtual functions by %s", (mode) => {
  expectNothingLeft();

  /** Opens the VF with `token` where `secret` is what is wanted. */
  function expectVf(space: ReturnType<typeof openMode>, token: string | undefined, secret: string): void {
    if (token !== secret) {
      expect(() => space.open(vf, token)).toThrow(refusal(mode));
      return;
    }
    using opened = space.open(vf, token);
    expect(opened.device.info()).toMatchObject({ isPci: true, numRegions: 9 });
  }

  test.each(tokens)(
    "can be opened only with the physical function's token ($name) [vfio_pci_sriov_uapi_test.init_token_match]",
    ({ token }) => {
      using space = openMode(mode);
      using _pf = space.open(sriovNvmeBdf(), UUID_1);
      expectVf(space, token, UUID_1);
    },
  );

  test.each(tokens)(
    "need the same token after the physical function was closed ($name) [vfio_pci_sriov_uapi_test.pf_early_close]",
    ({ token }) => {
      using space = openMode(mode);
      space.open(sriovNvmeBdf(), UUID_1).close();
      expectVf(space, token, UUID_1);
    },
  );

  test.each(tokens)(
    "need the token that was set last ($name) [vfio_pci_sriov_uapi_test.override_token]",
    ({ token }) => {
      using space = openMode(mode);
      using pf = space.open(sriovNvmeBdf(), UUID_1);
      setVfToken(pf.device, UUID_2);
      expectVf(space, token, UUID_2);
    },
  );

  test("require the token for the physical function while one is open", () => {
    using space = openMode(mode);
    const pf = space.open(sriovNvmeBdf(), UUID_1);
    using _vf = space.open(vf, UUID_1);
    pf.close();
    expect(() => space.open(sriovNvmeBdf())).toThrow(refusal(mode));
    expect(() => space.open(sriovNvmeBdf(), UUID_2)).toThrow(refusal(mode));
    using again = space.open(sriovNvmeBdf(), UUID_1);
    expect(again.device.capabilities().vfToken).toBe(true);
  });

  test("reject a token that isn't needed, or is no UUID", () => {
    using space = openMode(mode);
    expect(() => space.open(eduBdf(), UUID_1)).toThrow(refusal(mode, "EINVAL"));
    expect(() => space.open(eduBdf(), "secret")).toThrow(ArgumentError);
    using edu = space.open(eduBdf());
    expect(edu.device.capabilities().vfToken).toBe(false);
    expect(() => setVfToken(edu.device, UUID_1)).toThrow(UnsupportedError);
    expect(() => setVfToken(edu.device, "secret")).toThrow(ArgumentError);
  });
});
