/** `iova nvme create-ns`, `attach-ns`, `list-ctrl` and the lists of Identify on an emulated controller. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { ConfigError, UnsupportedError } from "../../../../src/core/errors.js";
import { emulate } from "../../../support/emulators.js";
import { iova, iovaJson } from "../../../support/nvme-cli.js";

let emulator: { readonly address: string; close(): Promise<void> };
beforeAll(async () => {
  const options = { sizeBytes: 16 << 20, capacityBytes: 128 << 20 };
  emulator = await emulate({ device: "nvme", options });
});
afterAll(async () => emulator.close());

test("a namespace is created, attached, detached and deleted", async () => {
  const { address } = emulator;
  expect(await iovaJson("create-ns", address, "-S", "16M", "-b", "4096", "-m", "1", "--yes")).toEqual({
    nsid: 2,
  });
  expect(await iovaJson("list-ns", address)).toEqual({ nsid_list: [{ nsid: 1 }] });
  expect(await iovaJson("list-ns", address, "--all")).toEqual({ nsid_list: [{ nsid: 1 }, { nsid: 2 }] });
  expect(await iova("attach-ns", address, "-n", "2", "--yes")).toMatch(
    /^attached namespace 2 to the controllers \d+\n$/,
  );
  expect(await iovaJson("list-ns", address)).toEqual({ nsid_list: [{ nsid: 1 }, { nsid: 2 }] });
  const listed = await iovaJson("list-ctrl", address, "-n", "2");
  expect(listed).toEqual(await iovaJson("list-ctrl", address));
  expect(listed).toEqual({ num_ctrl: 1, ctrl_list: [{ ctrl_id: expect.any(Number) }] });
  expect(await iova("list-ctrl", address, "-c", "0xffff")).toBe("num_ctrl  : 0\nctrl_list :\n");
  await expect(iova("attach-ns", address, "-n", "2", "--yes")).rejects.toThrow(/Already Attached/);
  await iova("detach-ns", address, "-n", "2", "--yes");
  await iova("delete-ns", address, "-n", "2", "--yes");
  expect(await iovaJson("list-ns", address, "-a")).toEqual({ nsid_list: [{ nsid: 1 }] });
  await expect(iova("delete-ns", address, "-n", "2", "--yes")).rejects.toThrow(/Invalid Namespace/);
  await iova("create-ns", address, "--nsze", "2048", "--flbas", "0", "--yes");
  await iova("delete-ns", address, "-n", "2", "--yes");
});

test("a namespace that the medium has no room for, or of an unknown format, is refused", async () => {
  const create = ["create-ns", emulator.address, "--yes"] as const;
  await expect(iova(...create, "--nsze-si", "1T")).rejects.toThrow(/Insufficient Capacity/);
  await expect(iova(...create, "-s", "2048", "-b", "520")).rejects.toThrow("no LBA format of 520 bytes");
  await expect(iova(...create, "-s", "2048", "-c", "4096")).rejects.toThrow("at most sizeBlocks");
});

test.each([
  [["create-ns", "--yes"], "needs --nsze or --nsze-si"],
  [["create-ns", "-s", "0", "--yes"], "--nsze 0"],
  [["create-ns", "-S", "lots", "--yes"], "such as 1.5T"],
  [["create-ns", "-s", "8", "-f", "0", "-b", "512", "--yes"], "not both"],
  [["create-ns", "-s", "8", "-d", "7", "--yes"], "protection types are 0 to 3"],
  [["create-ns", "-s", "8"], "--yes"],
  [["delete-ns", "--yes"], "needs --namespace-id"],
  [["delete-ns", "-n", "0", "--yes"], "--namespace-id 0"],
  [["attach-ns", "-n", "1", "-c", "0,65536", "--yes"], "--controllers 65536"],
  [["detach-ns", "-n", "1"], "--yes"],
  [["virt-mgmt", "-c", "1", "-a", "3", "--yes"], "expected 1, 7, 8 or 9"],
  [["virt-mgmt", "-a", "9", "--yes"], "needs --cntlid"],
  [["list-ctrl", "-c", "0x10000"], "--cntid"],
] as const)("nvme %j is refused before anything is opened", async ([name, ...args], reason) => {
  const refusal = iova(name, "vfio-user:/nowhere", ...args);
  await expect(refusal).rejects.toThrow(ConfigError);
  await expect(refusal).rejects.toThrow(reason);
});

test("lists of Identify have nvme-cli's keys", async () => {
  const { address } = emulator;
  expect(await iovaJson("list-endgrp", address)).toEqual({
    num_endgrp_id: 1,
    endgrp_list: [{ endgrp_id: 1 }],
  });
  expect(await iovaJson("id-iocs", address)).toMatchObject({
    IOCSC0: { "NVM Command Set": "Selected" },
  });
});

test("what the controller lacks is said before a command is sent, or by its status", async () => {
  const { address } = emulator;
  for (const name of ["primary-ctrl-caps", "list-secondary"])
    await expect(iova(name, address)).rejects.toThrow(UnsupportedError);
  await expect(iova("virt-mgmt", address, "-c", "1", "-a", "9", "--yes")).rejects.toThrow(UnsupportedError);
  for (const name of ["id-nvmset", "id-uuid", "id-domain", "id-ns-granularity"])
    await expect(iova(name, address)).rejects.toThrow(/Invalid Field/);
});
