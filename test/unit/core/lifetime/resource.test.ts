/** Leases and resources: the order in which they are released, failures, and garbage collection. */
import { setImmediate } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { Errno } from "../../../../src/core/errno.js";
import { BusyError, ClosedError, StateError, SysError } from "../../../../src/core/errors.js";
import { Lease } from "../../../../src/core/lifetime/lease.js";
import { Resource } from "../../../../src/core/lifetime/resource.js";
import { compileTree } from "../../../support/compiled.js";
import { collectUntil } from "../../../support/gc.js";
import { runNode } from "../../../support/run.js";

/** Leases that record when they are released. */
function recorder(): { released: string[]; lease: (label: string, ...parents: Lease[]) => Lease } {
  const released: string[] = [];
  return { released, lease: (label, ...parents) => new Lease(label, () => released.push(label), ...parents) };
}

describe("Lease.close()", () => {
  test("releases each dependent once, the newest first, before the lease itself", () => {
    const { released, lease } = recorder();
    const iommufd = lease("iommufd");
    const first = lease("ioas 1", iommufd);
    lease("ioas 2", iommufd);
    lease("mapping of 1", first);
    lease("ioas 3", iommufd);
    iommufd.close();
    iommufd.close();
    expect(released).toEqual(["ioas 3", "ioas 2", "mapping of 1", "ioas 1", "iommufd"]);
    expect(first.closed).toBe(true);
  });

  test("releases a lease with two parents once, with the parent that is closed first", () => {
    const { released, lease } = recorder();
    const device = lease("device");
    const ioas = lease("ioas");
    lease("attachment", device, ioas);
    ioas.close();
    expect(released).toEqual(["attachment", "ioas"]);
    device.close();
    expect(released).toEqual(["attachment", "ioas", "device"]);
  });

  test("releases a dependent that was added by dependOn()", () => {
    const { released, lease } = recorder();
    const iommufd = lease("iommufd");
    const device = lease("device");
    device.dependOn(iommufd);
    lease("region", device);
    iommufd.close();
    expect(released).toEqual(["region", "device", "iommufd"]);
  });

  test("releases a sibling before the sibling that it depends on, even if it is older", () => {
    const { released, lease } = recorder();
    const root = lease("root");
    const older = lease("older", root);
    const newer = lease("newer", root);
    older.dependOn(newer);
    root.close();
    expect(released).toEqual(["older", "newer", "root"]);
  });

  test("lets dependents use the lease while they are released, but accepts no new ones", () => {
    const ioas = new Lease("ioas", () => {});
    const seen: unknown[] = [];
    const leave = (): void => {
      ioas.assertOpen();
      seen.push(ioas.closed);
      try {
        new Lease("newcomer", () => {}, ioas);
      } catch (error) {
        seen.push(error);
      }
      // Already on its way.
      ioas.close();
    };
    new Lease("mapping", leave, ioas);
    ioas.close();
    expect(seen).toEqual([false, new ClosedError("ioas")]);
    expect(ioas.closed).toBe(true);
  });

  test("removes a closed child from its parent, so that it can be collected", async () => {
    const { released, lease } = recorder();
    const parent = lease("parent");
    const closeChild = (): WeakRef<Lease> => {
      const child = lease("child", parent);
      child.close();
      return new WeakRef(child);
    };
    const child = closeChild();
    expect(await collectUntil(() => child.deref() === undefined)).toBe(true);
    parent.close();
    expect(released).toEqual(["child", "parent"]);
  });

  test("allows a release to close what it owns", () => {
    const { released, lease } = recorder();
    const memory = lease("memory");
    const release = (): void => {
      released.push("buffer");
      memory.close();
    };
    new Lease("buffer", release, memory).close();
    expect(released).toEqual(["buffer", "memory"]);
  });
});

describe("a closed lease", () => {
  test("rejects use, holds and dependents with an error that has its name", () => {
    const { lease } = recorder();
    const ioas = lease("ioas 3 of /dev/iommu");
    ioas.close();
    expect(() => ioas.assertOpen()).toThrow(new ClosedError("ioas 3 of /dev/iommu"));
    expect(() => ioas.hold("a command")).toThrow(ClosedError);
    expect(() => lease("late", ioas)).toThrow(ClosedError);
  });

  test("takes no dependents from the start of its closing, and what they were to release is released at once", async () => {
    const released: string[] = [];
    let finish = (): void => {};
    const slow = new Lease("slow", {
      now: () => {},
      later: () =>
        new Promise((resolve) => {
          finish = resolve;
        }),
    });
    const other = new Lease("other", () => {});
    const closing = slow.closeAsync();
    expect(() => new Lease("late", () => released.push("late"), other, slow)).toThrow(
      new ClosedError("slow"),
    );
    class Late extends Resource {
      constructor() {
        super({
          label: "late resource",
          release: () => released.push("resource"),
          parents: [{ lease: slow }],
        });
      }
    }
    expect(() => new Late()).toThrow(new ClosedError("slow"));
    expect(released).toEqual(["late", "resource"]);
    finish();
    await closing;
    other.close();
    expect(released).toEqual(["late", "resource"]);
  });

  test("and a late dependent whose release fails has both errors", () => {
    const gone = new Lease("gone", () => {});
    gone.close();
    const fails = (): void => {
      throw new Error("stuck");
    };
    expect(() => new Lease("late", fails, gone)).toThrow(
      expect.objectContaining({ errors: [new ClosedError("gone"), new Error("stuck")] }),
    );
  });
});

describe("Lease.hold()", () => {
  test("prevents that the lease or a parent is closed, with an error that names the holder", () => {
    const { released, lease } = recorder();
    const space = lease("space");
    const busy = lease("buffer", space);
    lease("idle buffer", space);
    busy.hold("command 1");
    busy.hold("command 2");
    const refusal = "buffer can't be closed: command 2 uses it (2 in flight)";
    for (const target of [busy, space]) {
      expect(() => target.close()).toThrow(BusyError);
      expect(() => target.close()).toThrow(refusal);
      expect(target.closed).toBe(false);
    }
    busy.drop();
    expect(() => space.close()).toThrow("(1 in flight)");
    expect(released).toEqual([]);
    busy.drop();
    space.close();
    expect(released).toEqual(["idle buffer", "buffer", "space"]);
  });

  test("works after a drop() without a hold(), which is an error and changes nothing", () => {
    const { lease } = recorder();
    const buffer = lease("buffer");
    expect(() => buffer.drop()).toThrow(StateError);
    expect(() => buffer.drop()).toThrow("buffer has no hold to drop: each drop() needs a hold() before it");
    buffer.hold("command 1");
    expect(() => buffer.close()).toThrow("(1 in flight)");
    buffer.drop();
    expect(() => buffer.drop()).toThrow(StateError);
    buffer.close();
  });

  test("counts apart from the library's own holds, which no drop() ends", async () => {
    const { lease } = recorder();
    const device = lease("device");
    await device.during("a reset", async () => {
      expect(() => device.drop()).toThrow(StateError);
      expect(() => device.close()).toThrow("device can't be closed: a reset uses it (1 in flight)");
      device.hold("a command");
      expect(() => device.close()).toThrow("(2 in flight)");
    });
    expect(() => device.close()).toThrow("(1 in flight)");
    device.drop();
    device.close();
  });

  test("needs a name, for the error of close()", () => {
    const { lease } = recorder();
    const device = lease("device");
    // @ts-expect-error a caller without types can pass this
    expect(() => device.hold()).toThrow("holder must be a string, got undefined");
    device.close();
  });

  test("doesn't prevent that a sibling is closed", () => {
    const { released, lease } = recorder();
    const space = lease("space");
    lease("busy", space).hold("a command");
    lease("idle", space).close();
    expect(released).toEqual(["idle"]);
  });
});

describe("a release that fails", () => {
  function failing(label: string, ...parents: Lease[]): Lease {
    return new Lease(
      label,
      () => {
        throw new Error(`${label} failed`);
      },
      ...parents,
    );
  }

  test("throws its own error if it is the only one, and everything else is released", () => {
    const { released, lease } = recorder();
    const parent = lease("parent");
    lease("before", parent);
    failing("ioctl", parent);
    lease("after", parent);
    expect(() => parent.close()).toThrow(new Error("ioctl failed"));
    expect(released).toEqual(["after", "before", "parent"]);
    expect(parent.closed).toBe(true);
    parent.close();
    expect(released).toHaveLength(3);
  });

  test("throws an AggregateError with all errors in order if there are several", () => {
    const parent = failing("parent");
    failing("first", parent);
    failing("second", parent);
    let thrown: unknown;
    try {
      parent.close();
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(AggregateError);
    expect(thrown).toMatchObject({
      message: "closing parent failed in 3 places",
      errors: [new Error("second failed"), new Error("first failed"), new Error("parent failed")],
    });
  });
});

/** A release that the kernel refuses while `held` returns true. */
function refusable(label: string, held: () => boolean, ...parents: Lease[]): Lease {
  const now = (): void => {
    if (held()) throw new SysError("IOMMU_DESTROY", Errno.EBUSY, { object: label });
  };
  return new Lease(label, { now, later: async () => now(), retryable: true }, ...parents);
}

describe("a release that the kernel refuses", () => {
  const ways: [string, (lease: Lease) => Promise<void>][] = [
    ["close()", async (lease) => lease.close()],
    ["closeAsync()", (lease) => lease.closeAsync()],
  ];

  test.each(ways)(
    "leaves the lease and its parent open, so that they can be closed again: %s",
    async (_, close) => {
      const { released, lease } = recorder();
      let isHeld = true;
      const ioas = refusable("ioas", () => isHeld);
      const hwpt = refusable("hwpt", () => isHeld, ioas);
      lease("mapping", ioas);
      await expect(close(ioas)).rejects.toThrow(AggregateError);
      expect([ioas.closed, hwpt.closed]).toEqual([false, false]);
      expect(released).toEqual(["mapping"]);
      await expect(close(hwpt)).rejects.toThrow("IOMMU_DESTROY");
      isHeld = false;
      await close(ioas);
      expect([ioas.closed, hwpt.closed]).toEqual([true, true]);
    },
  );

  test.each(ways)("doesn't keep the lease open if a parent above it is released: %s", async (_, close) => {
    const { released, lease } = recorder();
    const iommufd = lease("iommufd");
    const ioas = refusable("ioas", () => true, iommufd);
    const hwpt = refusable("hwpt", () => true, ioas);
    await expect(close(iommufd)).rejects.toThrow(AggregateError);
    expect(released).toEqual(["iommufd"]);
    expect([ioas.closed, hwpt.closed]).toEqual([true, true]);
    await close(hwpt);
    await close(iommufd);
  });
});

describe("Lease.closeAsync()", () => {
  /** A lease whose release takes a turn of the event loop. */
  function slow(label: string, released: string[], ...parents: Lease[]): Lease {
    const later = async (): Promise<void> => {
      released.push(`${label} begins`);
      await setImmediate();
      released.push(`${label} ends`);
    };
    return new Lease(label, { now: () => released.push(label), later }, ...parents);
  }

  test("releases dependents one after the other, in the order of close(), and once even if it is called twice", async () => {
    const { released, lease } = recorder();
    const iommufd = slow("iommufd", released);
    const ioas = slow("ioas", released, iommufd);
    lease("mapping", ioas);
    const twice = [iommufd.closeAsync(), iommufd.closeAsync()];
    expect(iommufd.closed).toBe(false);
    // What it was to release is there already.
    expect(() => lease("newcomer", ioas)).toThrow(ClosedError);
    // Nothing is left to do for the other kind of close.
    iommufd.close();
    await Promise.all(twice);
    expect(released).toEqual([
      ...["mapping", "newcomer", "ioas begins", "ioas ends"],
      ...["iommufd begins", "iommufd ends"],
    ]);
    expect(iommufd.closed).toBe(true);
    await iommufd.closeAsync();
  });

  test("waits for the closeAsync() of a dependent that has begun already", async () => {
    const { released } = recorder();
    const iommufd = slow("iommufd", released);
    const ioas = slow("ioas", released, iommufd);
    const first = ioas.closeAsync();
    await iommufd.closeAsync();
    await first;
    expect(released).toEqual(["ioas begins", "ioas ends", "iommufd begins", "iommufd ends"]);
  });

  test("is rejected while an operation is in flight", async () => {
    const { released, lease } = recorder();
    const space = lease("space");
    const busy = lease("buffer", space);
    await busy.during("a reset", async () => {
      await expect(space.closeAsync()).rejects.toThrow(BusyError);
    });
    await space.closeAsync();
    expect(released).toEqual(["buffer", "space"]);
  });
});

describe("Resource", () => {
  class Thing extends Resource {
    constructor(lease: Lease) {
      super(lease);
    }
  }

  test("is closed once by `using`", () => {
    const { released, lease } = recorder();
    {
      using thing = new Thing(lease("thing"));
      expect(thing.closed).toBe(false);
      thing.close();
      thing.close();
    }
    {
      using _other = new Thing(lease("other"));
    }
    expect(released).toEqual(["thing", "other"]);
  });

  test("is closed by `await using`", async () => {
    const { released, lease } = recorder();
    {
      await using thing = new Thing(lease("thing"));
      expect(thing.closed).toBe(false);
    }
    expect(released).toEqual(["thing"]);
  });

  test("is closed with its parent", () => {
    const { lease } = recorder();
    const parent = new Thing(lease("parent"));
    const child = new Thing(lease("child", parent.lease));
    parent.close();
    expect(child.closed).toBe(true);
  });
});

describe("garbage collection", () => {
  let results: Record<string, unknown>;
  beforeAll(async () => {
    const program = "test/unit/fixtures/forgotten.ts";
    using tree = compileTree(program);
    const outcome = await runNode("--expose-gc", "--no-warnings", tree.file(program));
    expect(outcome).toMatchObject({ status: 0, stderr: "" });
    results = JSON.parse(outcome.stdout);
  });

  const fateOf = (scenario: string): unknown => results[scenario];
  const nothing = { released: [], warnings: [] };
  const warningOf = (label: string, detail?: string): object => ({
    name: "IovaResourceWarning",
    code: "IOVA_FORGOTTEN",
    message: `${label} was never closed; released at garbage collection`,
    ...(detail === undefined ? {} : { detail }),
  });

  test("releases a forgotten resource with a warning that has its name and where it was created", () => {
    const detail = "created at\n    at the.site (app.js:1:2)";
    expect(fateOf("forgotten")).toEqual({
      released: ["forgotten"],
      warnings: [warningOf("forgotten", detail)],
    });
    expect(fateOf("siteless")).toEqual({ released: ["siteless"], warnings: [warningOf("siteless")] });
  });

  test("gives no warning about a closed resource", () => {
    expect(fateOf("closed")).toEqual({ released: ["closed"], warnings: [] });
    expect(fateOf("closed, let go")).toEqual(nothing);
  });

  test("doesn't release a relinquished resource, which belongs to the holder of its lease", () => {
    expect(fateOf("relinquished")).toEqual(nothing);
    expect(fateOf("relinquished, let go")).toEqual(nothing);
  });

  test("releases a child with its forgotten parent, unless the child keeps the parent", () => {
    expect(fateOf("unkept")).toEqual({
      released: ["unkept child", "unkept parent"],
      warnings: [warningOf("unkept parent")],
    });
    expect(fateOf("kept")).toEqual(nothing);
    // Both go at once; either may be found first, but the child is released first.
    expect(fateOf("kept, let go")).toMatchObject({ released: ["kept child", "kept parent"] });
  });

  test("doesn't release a resource in use, and warns about that, too", () => {
    expect(fateOf("refused")).toMatchObject({
      released: [],
      warnings: [{ code: "IOVA_FORGOTTEN" }, { name: "BusyError", code: "ERR_IOVA_BUSY" }],
    });
  });
});

describe("a resource with parents and owned resources", () => {
  class Part extends Resource {
    constructor(
      label: string,
      log: string[],
      parts: { parents?: readonly (Resource | undefined)[]; owns?: readonly Resource[] } = {},
    ) {
      super({ label, release: () => log.push(label), ...parts });
    }
  }

  test("is closed before its parents", () => {
    const log: string[] = [];
    const parents = [new Part("first", log), undefined, new Part("second", log)];
    const child = new Part("child", log, { parents });
    parents[2]?.close();
    expect(child.closed).toBe(true);
    parents[0]?.close();
    expect(log).toEqual(["child", "second", "first"]);
  });

  test.each(["close", "closeAsync"] as const)(
    "is released by %s() before the resources that it owns, which follow in order",
    async (close) => {
      const log: string[] = [];
      const owner = new Part("owner", log, { owns: [new Part("a", log), new Part("b", log)] });
      await owner[close]();
      expect(log).toEqual(["owner", "a", "b"]);
    },
  );

  test.each(["close", "closeAsync"] as const)(
    "refuses %s() with nothing closed while what it owns is in use, and can be closed after that",
    async (close) => {
      const log: string[] = [];
      const [first, second] = [new Part("a", log), new Part("b", log)];
      const owner = new Part("owner", log, { owns: [first, second] });
      const below = new Part("below", log, { parents: [second] });
      const above = new Part("above", log);
      owner.dependOn(above);
      below.lease.hold("a command");
      for (const one of [owner, above]) {
        await expect((async () => await one[close]())()).rejects.toThrow(
          new BusyError("below can't be closed: a command uses it (1 in flight)"),
        );
      }
      expect(log).toEqual([]);
      expect([above, owner, first, second, below].some(({ closed }) => closed)).toBe(false);
      below.lease.drop();
      await above[close]();
      expect(log).toEqual(["owner", "a", "below", "b", "above"]);
    },
  );

  test("locks out the other threads that use what it owns, or none if one is in use", () => {
    const log: string[] = [];
    const parts = [new Part("a", log), new Part("b", log)];
    const owner = new Part("owner", log, { owns: parts });
    let uses = 1;
    const locks: string[] = [];
    for (const { lease } of parts)
      lease.setForeignHolders({
        count: () => 0,
        lock: () => {
          locks.push(`lock ${lease.label}`);
          return lease.label === "b" ? uses : 0;
        },
        unlock: () => locks.push(`unlock ${lease.label}`),
      });
    expect(() => owner.close()).toThrow("b can't be closed: other threads use it (1 holds)");
    expect(locks).toEqual(["lock a", "lock b", "unlock a"]);
    expect(log).toEqual([]);
    uses = 0;
    owner.close();
    expect(log).toEqual(["owner", "a", "b"]);
  });

  test("closes the resources that it owns even if its own release fails", () => {
    const log: string[] = [];
    class Failing extends Resource {
      constructor(part: Resource) {
        super({
          label: "failing",
          release: () => {
            throw new Error("no");
          },
          owns: [part],
        });
      }
    }
    expect(() => new Failing(new Part("a", log)).close()).toThrow("no");
    expect(log).toEqual(["a"]);
  });

  test("is closed with an owner that it is given by dependOn()", () => {
    const log: string[] = [];
    const owner = new Part("owner", log);
    new Part("child", log).dependOn(owner);
    owner.close();
    expect(log).toEqual(["child", "owner"]);
  });
});
