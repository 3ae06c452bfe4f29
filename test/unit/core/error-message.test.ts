/** Errors that are sent to another thread as messages. */
import { types } from "node:util";
import { expect, test } from "vitest";
import { Errno } from "../../../src/core/errno.js";
import { type ErrorClass, errorFromMessage, errorToMessage } from "../../../src/core/error-message.js";
import {
  BusyError,
  ClosedError,
  ConfigError,
  DeviceGoneError,
  IovaError,
  SysError,
  TimeoutError,
} from "../../../src/core/errors.js";

/** What arrives on another thread. */
function sent(error: unknown, moreClasses?: readonly ErrorClass[]): Error {
  return errorFromMessage(structuredClone(errorToMessage(error)), moreClasses);
}

class OuterError extends IovaError {
  constructor(readonly place: string) {
    super("ERR_OUTER", `wrong at ${place}`);
  }
}

test("a sent error keeps its class, code, fields, message and stack", () => {
  const errors = [
    new SysError("open", Errno.EACCES, { object: "/dev/vfio/7" }),
    new ConfigError("wrong"),
    new ClosedError("the queue"),
    new BusyError("in use"),
    new TimeoutError("the reset", 50),
    new DeviceGoneError("0000:01:00.0"),
  ];
  for (const error of errors) {
    const received = sent(error);
    expect(types.isNativeError(received)).toBe(true);
    expect(received.constructor).toBe(error.constructor);
    expect({ ...received, message: received.message }).toEqual({ ...error, message: error.message });
    expect(received.stack).toBe(error.stack);
  }
});

test("a sent error keeps its chain of causes", () => {
  const error = new BusyError("in use", {
    cause: new SysError("ioctl", Errno.EBUSY, { cause: new RangeError("x") }),
  });
  const { cause } = sent(error);
  expect(cause).toBeInstanceOf(SysError);
  expect(cause).toMatchObject({ code: "EBUSY", cause: { name: "RangeError", message: "x" } });
});

test("errorFromMessage() restores a class of an outer layer if it is given, and otherwise makes an IovaError with its name and code", () => {
  const error = new OuterError("home");
  expect(sent(error, [OuterError])).toBeInstanceOf(OuterError);
  const received = sent(error);
  expect(received).not.toBeInstanceOf(OuterError);
  expect(received).toBeInstanceOf(IovaError);
  expect(received).toMatchObject({
    name: "OuterError",
    code: "ERR_OUTER",
    place: "home",
    message: "wrong at home",
  });
});

test("an error from outside the library keeps its name, and a value that is no error becomes an Error", () => {
  expect(sent(new RangeError("too far"))).not.toBeInstanceOf(IovaError);
  expect(sent(new RangeError("too far"))).toMatchObject({ name: "RangeError", message: "too far" });
  expect(sent("a text")).toMatchObject({ name: "Error", message: "a text" });
});

test("a sent error loses fields that can't be cloned", () => {
  const error = Object.assign(new ConfigError("wrong"), { callback: () => 0 });
  expect("callback" in sent(error)).toBe(false);
});
