/** Configuration spaces made for simple emulated functions. */
import { expect, test } from "vitest";
import { ArgumentError } from "../../../../src/core/errors.js";
import { initialConfigSpace } from "../../../../src/vfio-user/server/initial-config-space.js";

test("initialConfigSpace makes a header with MSI of 64-bit addresses, and an interrupt pin", () => {
  const bytes = initialConfigSpace({ vendorId: 0x1234, deviceId: 0x11e8, classCode: 0x020304, revision: 5 });
  expect(bytes).toHaveLength(256);
  expect([...bytes.subarray(0, 0x0c)]).toEqual([0x34, 0x12, 0xe8, 0x11, 0, 0, 0x10, 0, 5, 4, 3, 2]);
  expect([bytes[0x34], bytes[0x3d]]).toEqual([0x40, 1]);
  expect([...bytes.subarray(0x40, 0x44)]).toEqual([5, 0, 0x80, 0]);
});

test("initialConfigSpace makes up to 32 vectors, or neither MSI nor pin", () => {
  const many = initialConfigSpace({ vendorId: 0, deviceId: 0, msiVectors: 32 });
  expect([...many.subarray(0x40, 0x44)]).toEqual([5, 0, 0x8a, 0]);
  const none = initialConfigSpace({ vendorId: 0, deviceId: 0, msiVectors: 0, hasPin: false });
  expect([none[0x06], none[0x34], none[0x3d], none[0x40]]).toEqual([0, 0, 0, 0]);
});

test("initialConfigSpace makes MSI-X beside MSI, or alone", () => {
  const msix = { vectors: 3, bar: 1 };
  const both = initialConfigSpace({ vendorId: 1, deviceId: 1, msix });
  expect([both[0x34], both[0x40], both[0x41], both[0x50], both[0x51]]).toEqual([0x40, 5, 0x50, 0x11, 0]);
  expect([...both.subarray(0x52, 0x5c)]).toEqual([2, 0, 1, 0, 0, 0, 0x31, 0, 0, 0]);
  const alone = initialConfigSpace({
    ...{ vendorId: 1, deviceId: 1, msiVectors: 0 },
    msix: { vectors: 2048, bar: 2, tableOffset: 0x2000, pendingOffset: 0x1000 },
  });
  expect([alone[0x06], alone[0x34], alone[0x40]]).toEqual([0x10, 0x50, 0]);
  expect([...alone.subarray(0x50, 0x5c)]).toEqual([0x11, 0, 0xff, 7, 2, 0x20, 0, 0, 2, 0x10, 0, 0]);
});

test.each([
  [{ msix: { vectors: 0, bar: 0 } }, "msix.vectors"],
  [{ msix: { vectors: 1, bar: 6 } }, "msix.bar"],
  [{ msix: { vectors: 1, bar: 0, tableOffset: 4 } }, "msix.tableOffset"],
  [{ msix: { vectors: 1, bar: 0, pendingOffset: -8 } }, "msix.pendingOffset"],
  [{ msix: { vectors: 1, bar: 0, table: 0 } }, "table"],
  [{ vendorId: 0xffff }, "vendorId"],
  [{ deviceId: 0x10000 }, "deviceId"],
  [{ classCode: 0x100_0000 }, "classCode"],
  [{ revision: 256 }, "revision"],
  [{ msiVectors: 3 }, "msiVectors"],
  [{ msiVectors: 64 }, "msiVectors"],
  [{ msiVectors: -1 }, "msiVectors"],
  [{ vendor: 1 }, "vendor"],
])("initialConfigSpace rejects %j", (options, word) => {
  const call = (): Uint8Array => initialConfigSpace({ vendorId: 1, deviceId: 1, ...options });
  expect(call).toThrow(ArgumentError);
  expect(call).toThrow(word);
});
