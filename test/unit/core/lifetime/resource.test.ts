import { setImmediate } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { Errno } from "../../../../src/core/errno.js";
import { BusyError, ClosedError, SysError } from "../../../../src/core/errors.js";
import { Lease } from "../../../../src/core/lifetime/lease.js";
import { Resource } from "../../../../src/core/lifetime/resource.js";
import { compileTree } from "../../../support/compiled.js";
import { collectUntil } from "../../../support/gc.js";
import { runNode } from "../../../support/run.js";

/** Leases that write down when they are released. */
function recorder(): { released: string[]; lease: (label: string, ...parents: Lease[]) => Lease } {
  const released: string[] = [];
  return { released, lease: (label, ...parents) => new Lease(label, () => released.push(label), ...parents) };
}

describe("closing", () => {
  test("takes dependents first, newest first, each once", () => {
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

  test("a lease with two parents ends with whichever goes first, and only once", () => {
    const { released, lease } = recorder();
    const device = lease("device");
    const ioas = lease("ioas");
    lease("attachment", device, ioas);
    ioas.close();
    expect(released).toEqual(["attachment", "ioas"]);
    device.close();
    expect(released).toEqual(["attachment", "ioas", "device"]);
  });

  test("a dependency made later counts too", () => {
    const { released, lease } = recorder();
    const iommufd = lease("iommufd");
    const device = lease("device");
    device.dependOn(iommufd);
    lease("region", device);
    iommufd.close();
    expect(released).toEqual(["region", "device", "iommufd"]);
  });

  test("between siblings the one that depends goes first, however old it is", () => {
    const { released, lease } = recorder();
    const root = lease("root");
    const older = lease("older", root);
    const newer = lease("newer", root);
    older.dependOn(newer);
    root.close();
    expect(released).toEqual(["older", "newer", "root"]);
  });

  test("what is closing is open to those who leave, and closed to newcomers", () => {
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

  test("a closed child is forgotten by its parent, and can be collected", async () => {
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

  test("a release may close what it owns itself", () => {
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

describe("what is closed", () => {
  test("can't be used, held or depended on, and says who it was", () => {
    const { lease } = recorder();
    const ioas = lease("ioas 3 of /dev/iommu");
    ioas.close();
    expect(() => ioas.assertOpen()).toThrow(new ClosedError("ioas 3 of /dev/iommu"));
    expect(() => ioas.hold("a command")).toThrow(ClosedError);
    expect(() => lease("late", ioas)).toThrow(ClosedError);
  });
});

describe("hold", () => {
  test("refuses close anywhere above, naming the holder, with nothing done", () => {
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

  test("keeps nothing else from closing", () => {
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

  test("alone is thrown as it is, and everything else is released all the same", () => {
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

  test("with others is collected, in the order they happened", () => {
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

/** A release that the kernel refuses while `held` says so. */
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

  test.each(ways)("leaves what it holds open, to be closed again: %s", async (_, close) => {
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
  });

  test.each(ways)("is overtaken by what takes it along: %s", async (_, close) => {
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

describe("closeAsync()", () => {
  /** Takes a turn of the event loop to be released. */
  function slow(label: string, released: string[], ...parents: Lease[]): Lease {
    const later = async (): Promise<void> => {
      released.push(`${label} begins`);
      await setImmediate();
      released.push(`${label} ends`);
    };
    return new Lease(label, { now: () => released.push(label), later }, ...parents);
  }

  test("releases one after the other, in the same order, and is one operation however often it is asked for", async () => {
    const { released, lease } = recorder();
    const iommufd = slow("iommufd", released);
    const ioas = slow("ioas", released, iommufd);
    lease("mapping", ioas);
    const twice = [iommufd.closeAsync(), iommufd.closeAsync()];
    expect(iommufd.closed).toBe(false);
    expect(() => lease("newcomer", ioas)).toThrow(ClosedError);
    // Nothing is left to do for the other kind of close.
    iommufd.close();
    await Promise.all(twice);
    expect(released).toEqual(["mapping", "ioas begins", "ioas ends", "iommufd begins", "iommufd ends"]);
    expect(iommufd.closed).toBe(true);
    await iommufd.closeAsync();
  });

  test("is awaited by a parent's that comes after it", async () => {
    const { released } = recorder();
    const iommufd = slow("iommufd", released);
    const ioas = slow("ioas", released, iommufd);
    const first = ioas.closeAsync();
    await iommufd.closeAsync();
    await first;
    expect(released).toEqual(["ioas begins", "ioas ends", "iommufd begins", "iommufd ends"]);
  });

  test("is refused while something is in flight", async () => {
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

  test("is closed by `using`, and only once", () => {
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

describe("at garbage collection", () => {
  let results: Record<string, unknown>;
  beforeAll(async () => {
    const program = "test/unit/fixtures/forgotten.ts";
    using tree = compileTree(program);
    const outcome = await runNode("--expose-gc", "--no-warnings", tree.file(program));
    expect(outcome).toMatchObject({ status: 0, stderr: "" });
    results = JSON.parse(outcome.stdout);
  }, 60_000);

  const fateOf = (scenario: string): unknown => results[scenario];
  const nothing = { released: [], warnings: [] };
  const warningOf = (label: string, detail?: string): object => ({
    name: "IovaResourceWarning",
    code: "IOVA_FORGOTTEN",
    message: `${label} was never closed; released at garbage collection`,
    ...(detail === undefined ? {} : { detail }),
  });

  test("a forgotten resource is released, with a warning that names it and where it was made", () => {
    const detail = "created at\n    at the.site (app.js:1:2)";
    expect(fateOf("forgotten")).toEqual({
      released: ["forgotten"],
      warnings: [warningOf("forgotten", detail)],
    });
    expect(fateOf("siteless")).toEqual({ released: ["siteless"], warnings: [warningOf("siteless")] });
  });

  test("a closed one is not worth a word", () => {
    expect(fateOf("closed")).toEqual({ released: ["closed"], warnings: [] });
    expect(fateOf("closed, let go")).toEqual(nothing);
  });

  test("a relinquished resource is left to the holder of its lease", () => {
    expect(fateOf("relinquished")).toEqual(nothing);
    expect(fateOf("relinquished, let go")).toEqual(nothing);
  });

  test("a forgotten parent takes a child in use with it, unless the child keeps it", () => {
    expect(fateOf("unkept")).toEqual({
      released: ["unkept child", "unkept parent"],
      warnings: [warningOf("unkept parent")],
    });
    expect(fateOf("kept")).toEqual(nothing);
    // Both go at once; either may be found first, but the child is released first.
    expect(fateOf("kept, let go")).toMatchObject({ released: ["kept child", "kept parent"] });
  });

  test("one that is in use is not released, and that is said too", () => {
    expect(fateOf("refused")).toMatchObject({
      released: [],
      warnings: [{ code: "IOVA_FORGOTTEN" }, { name: "BusyError", code: "ERR_IOVA_BUSY" }],
    });
  });
});

describe("a resource made of its parts", () => {
  class Part extends Resource {
    constructor(
      label: string,
      log: string[],
      parts: { parents?: readonly (Resource | undefined)[]; owns?: readonly Resource[] } = {},
    ) {
      super({ label, release: () => log.push(label), ...parts });
    }
  }

  test("closes before its parents do", () => {
    const log: string[] = [];
    const parents = [new Part("first", log), undefined, new Part("second", log)];
    const child = new Part("child", log, { parents });
    parents[2]?.close();
    expect(child.closed).toBe(true);
    parents[0]?.close();
    expect(log).toEqual(["child", "second", "first"]);
  });

  test.each(["close", "closeAsync"] as const)(
    "%s() releases it first and then what it owns, in order",
    async (close) => {
      const log: string[] = [];
      const owner = new Part("owner", log, { owns: [new Part("a", log), new Part("b", log)] });
      await owner[close]();
      expect(log).toEqual(["owner", "a", "b"]);
    },
  );

  test("closes what it owns even if its own release fails", () => {
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

  test("depends on an owner that is named later", () => {
    const log: string[] = [];
    const owner = new Part("owner", log);
    new Part("child", log).dependOn(owner);
    owner.close();
    expect(log).toEqual(["child", "owner"]);
  });
});
