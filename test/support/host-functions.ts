/** PCI functions of the machine that runs the tests: calls with made-up values must not bind, reset or remove them. */
import { parseBdf } from "../../src/pci/address/bdf.js";
import { findPciFunction } from "../../src/pci/sysfs.js";

/** An address that belongs to no function of this machine. @param domain the first PCI domain that is tried */
export function freeAddress(domain: number, exists = isHostFunction): string {
  const address = `${domain.toString(16).padStart(4, "0")}:ff:1f.7`;
  return exists(address) ? freeAddress(domain + 1, exists) : address;
}

/** Whether a value is, or has somewhere inside, the address of a function of this machine. */
export function namesHostFunction(value: unknown, exists = isHostFunction, depth = 0): boolean {
  if (typeof value === "string") return addressesIn(value).some((address) => exists(address));
  if (typeof value !== "object" || value === null || depth > 3) return false;
  return valuesIn(value).some((each) => namesHostFunction(each, exists, depth + 1));
}

/** None of objects of classes, which calls have returned, and of proxies that throw. */
function valuesIn(value: object): unknown[] {
  try {
    if (!Array.isArray(value) && Object.getPrototypeOf(value) !== Object.prototype) return [];
    return Object.values(Object.getOwnPropertyDescriptors(value)).map((each) => each.value);
  } catch {
    return [];
  }
}

/** Also of `served:PATH@BDF`. */
function addressesIn(text: string): string[] {
  const word = /[^@]*$/.exec(text)?.[0] ?? "";
  try {
    return [parseBdf(word)];
  } catch {
    return [];
  }
}

function isHostFunction(address: string): boolean {
  return findPciFunction(address) !== undefined;
}
