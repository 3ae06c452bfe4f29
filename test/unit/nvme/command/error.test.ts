/** NvmeError: what it decodes from the status of a completion. */
import { describe, expect, test } from "vitest";
import { IovaError } from "../../../../src/core/errors.js";
import { NvmeError, NvmeProtocolError } from "../../../../src/nvme/command/error.js";

const DNR = 1 << 14;
const MORE = 1 << 13;
/** Command Retry Delay: bits 12:11, not part of the code. */
const CRD = 3 << 11;

function field(type: number, code: number, flags = 0): number {
  return (type << 8) | code | flags;
}

describe("NvmeError", () => {
  test("has type, code, the specification's name, and the request", () => {
    const error = new NvmeError("read (nsid 0x1)", field(0, 0x80, DNR));
    expect(error).toBeInstanceOf(IovaError);
    expect(error).toMatchObject({
      name: "NvmeError",
      code: "ERR_IOVA_NVME",
      statusCodeType: 0,
      statusCode: 0x80,
      status: "LBA Out of Range",
      doNotRetry: true,
      more: false,
    });
    expect(error.message).toBe("read (nsid 0x1): LBA Out of Range (Generic Command Status 0x80)");
  });

  test.each([
    [field(0, 0x02), "Invalid Field in Command", "Generic Command Status"],
    [field(0, 0x0b), "Invalid Namespace or Format", "Generic Command Status"],
    // The same code means something else in another type.
    [field(1, 0x80), "Conflicting Attributes", "Command Specific Status"],
    [field(2, 0x80), "Write Fault", "Media and Data Integrity Errors"],
    [field(1, 0x00), "Completion Queue Invalid", "Command Specific Status"],
    [field(2, 0x85), "Compare Failure", "Media and Data Integrity Errors"],
    [field(3, 0x71), "Command Aborted By Host", "Path Related Status"],
    // Without a name the number is shown.
    [field(0, 0x7f), "Status Code 0x7f", "Generic Command Status"],
    [field(7, 0x01), "Status Code 0x01", "Vendor Specific"],
    [field(5, 0x09), "Status Code 0x09", "Status Code Type 5"],
  ])("decodes status field %i as %s", (statusField, status, type) => {
    const error = new NvmeError("command", statusField);
    expect(error.status).toBe(status);
    expect(error.message).toContain(`${status} (${type} 0x`);
  });

  test.each([
    [0, { doNotRetry: false, more: false }],
    [DNR, { doNotRetry: true, more: false }],
    [MORE, { doNotRetry: false, more: true }],
    [DNR | MORE | CRD, { doNotRetry: true, more: true }],
    [CRD, { doNotRetry: false, more: false }],
  ])("decodes the flags of %i", (flags, expected) => {
    const error = new NvmeError("command", field(2, 0x81, flags));
    expect(error).toMatchObject({ ...expected, statusCodeType: 2, statusCode: 0x81 });
    expect(error.status).toBe("Unrecovered Read Error");
  });

  test("is a different class than NvmeProtocolError", () => {
    const error = new NvmeProtocolError("CFS");
    expect(error.code).toBe("ERR_IOVA_NVME_PROTOCOL");
    expect(error).not.toBeInstanceOf(NvmeError);
  });
});
