/**
 * The other side of declared registers: what a device in software holds, and what it does when its driver reads and writes. It
 * keeps the declared access as hardware does: ro bits don't change, writing 1 clears w1c, reading clears rc.
 */
import { checkInteger, checkObject } from "../core/check.js";
import { ArgumentError } from "../core/errors.js";
import type { RegisterAccess } from "./access.js";
import { RegisterArray } from "./array.js";
import { bigints, numbers } from "./bits.js";
import type { RegisterBlock } from "./block.js";
import type { ArraySpec, BlockSpec, NestedSpec, RegisterSpec } from "./declaration.js";
import { DirectAccess } from "./device-access.js";
import { DeviceRegister, type RegisterHandler } from "./device-register.js";
import type { DeviceRegistersOf, RegisterHandlers } from "./device-types.js";
import { narrowField, wideField } from "./field.js";
import { isReadable, isWritable } from "./field-spec.js";

/** The widest access in bytes. */
const MAX_WIDTH = 8;
const MAX_OFFSET = Number.MAX_SAFE_INTEGER - MAX_WIDTH;

type AnyDeviceRegister = DeviceRegister<number> | DeviceRegister<bigint>;

/** The registers of a device in software. */
export class DeviceRegisters<const D extends BlockSpec> {
  /** The registers by name, with the device's rights. */
  readonly state: DeviceRegistersOf<D>;
  /** For a driver in the same process: `block.on(registers.access)`. */
  readonly access: RegisterAccess;
  private readonly all: AnyDeviceRegister[] = [];
  private readonly readers = new Map<number, AnyDeviceRegister>();
  private readonly writers = new Map<number, AnyDeviceRegister>();

  /**
   * @param block the declaration, which the driver uses, too
   * @param handlers by register name: what the device does beyond holding values
   * @throws ArgumentError for a handler of a register that isn't declared, or a reset value that is too wide
   */
  constructor(
    /** The declaration. */
    readonly block: RegisterBlock<D>,
    handlers: RegisterHandlers<D> = {},
  ) {
    this.access = new DirectAccess(this, `${block.name} in software`, block.sizeBytes);
    // Each member is what DeviceRegistersOf makes of its declaration.
    this.state = this.members(block.registers, handlers, "", 0, []) as DeviceRegistersOf<D>;
  }

  /**
   * A driver's read, as `EmulatedBar.read` gets it. Bytes that no readable register has read as 0.
   * @param offset bytes from the start of the block
   * @param target as long as the access, 1 to 8 bytes
   */
  read(offset: number, target: Uint8Array): void {
    checkAccess(offset, target);
    target.fill(0);
    for (const [register, at] of touched(this.readers, offset, target.length)) {
      const bytes = register.driverRead();
      const first = Math.max(0, -at);
      target.set(bytes.subarray(first, target.length - at), at + first);
    }
  }

  /**
   * A driver's write, as `EmulatedBar.write` gets it. Bytes that no writable register has are ignored.
   * @param offset bytes from the start of the block
   * @param source as long as the access, 1 to 8 bytes
   */
  write(offset: number, source: Uint8Array): void {
    checkAccess(offset, source);
    for (const [register, at] of touched(this.writers, offset, source.length)) {
      const first = Math.max(0, -at);
      register.driverWrite(first, source.subarray(at + first, at + register.widthBytes));
    }
  }

  /** All registers take their declared reset values, or 0. Calls no handler. */
  reset(): void {
    for (const register of this.all) register.reset();
  }

  /** What all registers hold, for migration. */
  save(): Uint8Array {
    const view = new DataView(new ArrayBuffer(MAX_WIDTH * this.all.length));
    this.all.forEach((register, i) => {
      register.save(new DataView(view.buffer, MAX_WIDTH * i, MAX_WIDTH));
    });
    return new Uint8Array(view.buffer);
  }

  /** Takes what {@link save} gave. Calls no handler. @throws ArgumentError, with nothing changed, if that can't be */
  load(state: Uint8Array): void {
    if (state.length !== MAX_WIDTH * this.all.length)
      throw new ArgumentError(
        `${this.block.name} has ${this.all.length} registers: the state has another length`,
      );
    const before = this.save();
    try {
      this.fill(state);
    } catch (error) {
      this.fill(before);
      throw error;
    }
  }

  private fill(state: Uint8Array): void {
    this.all.forEach((register, i) => {
      register.load(new DataView(state.buffer, state.byteOffset + MAX_WIDTH * i, MAX_WIDTH));
    });
  }

  private members(
    specs: BlockSpec,
    handlers: object,
    path: string,
    base: number,
    at: readonly number[],
  ): Readonly<Record<string, unknown>> {
    checkObject(`handlers of ${path === "" ? this.block.name : path}`, handlers);
    const unknown = Object.keys(handlers).find((name) => !Object.hasOwn(specs, name));
    if (unknown !== undefined)
      throw new ArgumentError(`${this.block.name} has no register ${path}${unknown}`);
    return Object.fromEntries(
      Object.entries(specs).map(([name, spec]) => {
        const handler: unknown = Reflect.get(handlers, name) ?? {};
        if (typeof handler !== "object" || handler === null)
          throw new ArgumentError(`the handler of ${path}${name} must be an object`);
        return [name, this.member(spec, handler, path + name, base, at)];
      }),
    );
  }

  private member(
    spec: RegisterSpec | ArraySpec | NestedSpec,
    handler: object,
    name: string,
    base: number,
    at: readonly number[],
  ): unknown {
    switch (spec.kind) {
      case "block":
        return this.members(spec.registers, handler, `${name}.`, base + spec.offset, at);
      case "array": {
        const { count, strideBytes, element } = spec;
        const array = new RegisterArray(name, count, (i) =>
          this.member(element, handler, `${name}[${i}]`, base + i * strideBytes, [...at, i]),
        );
        // Accesses find their registers by offset, so all must be there.
        for (const _ of array);
        return array;
      }
      case "register":
        return this.add(makeRegister(spec, handler, name, base + spec.offset, at), spec);
    }
  }

  private add(register: AnyDeviceRegister, { access }: RegisterSpec): AnyDeviceRegister {
    this.all.push(register);
    if (isReadable(access)) this.readers.set(register.offset, register);
    if (isWritable(access)) this.writers.set(register.offset, register);
    return register;
  }
}

function makeRegister(
  spec: RegisterSpec,
  handler: object,
  name: string,
  offset: number,
  at: readonly number[],
): AnyDeviceRegister {
  if (spec.width === 64) {
    const bytes = {
      load: (view: DataView) => view.getBigUint64(0, true),
      store: (view: DataView, value: bigint) => view.setBigUint64(0, value, true),
    };
    return new DeviceRegister<bigint>(name, offset, spec, handlerOf(handler), at, bigints, bytes, wideField);
  }
  const { width } = spec;
  return new DeviceRegister<number>(
    name,
    offset,
    spec,
    handlerOf(handler),
    at,
    numbers(width),
    narrowBytes[width],
    narrowField,
  );
}

const narrowBytes = {
  8: {
    load: (view: DataView) => view.getUint8(0),
    store: (view: DataView, value: number) => view.setUint8(0, value),
  },
  16: {
    load: (view: DataView) => view.getUint16(0, true),
    store: (view: DataView, value: number) => view.setUint16(0, value, true),
  },
  32: {
    load: (view: DataView) => view.getUint32(0, true),
    store: (view: DataView, value: number) => view.setUint32(0, value, true),
  },
};

/** A handler's methods; what they return is checked at each call. @throws ArgumentError if one isn't a function */
function handlerOf<V>(handler: object): RegisterHandler<V> {
  for (const name of ["read", "write"]) {
    const method: unknown = Reflect.get(handler, name);
    if (method !== undefined && typeof method !== "function")
      throw new ArgumentError(`${name} of a register's handler must be a function`);
  }
  return handler;
}

/** The registers that an access touches, in ascending order, and where each starts from the access's first byte. */
function* touched(
  registers: ReadonlyMap<number, AnyDeviceRegister>,
  offset: number,
  length: number,
): Generator<readonly [AnyDeviceRegister, number]> {
  for (let start = Math.max(0, offset - MAX_WIDTH + 1); start < offset + length; start++) {
    const register = registers.get(start);
    if (register !== undefined && start + register.widthBytes > offset) yield [register, start - offset];
  }
}

function checkAccess(offset: number, bytes: Uint8Array): void {
  checkInteger("offset", offset, 0, MAX_OFFSET);
  checkInteger("length of the access", bytes.length, 1, MAX_WIDTH);
}
