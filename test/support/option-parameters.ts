/** The parameters of public functions and methods that take options: objects of which the caller leaves out what it likes. */
import type { ApiShape, Callable, Shape } from "./api-shape.js";

/** Names that types refer to, one inside the other. */
const DEEPEST = 8;

/** What a type is, if it is a plain object: no class, and nothing that has methods. */
function plainObject(api: ApiShape, shape: Shape, depth = 0): { readonly leavesOut: boolean } | undefined {
  if (depth > DEEPEST) return undefined;
  switch (shape.is) {
    case "object": {
      if (Object.values(shape.props).some(({ is }) => is === "function")) return undefined;
      let { leavesOut } = shape;
      for (const base of shape.bases) {
        // A type of another package, such as Node.js's, is taken for one.
        if (base.is === "name" && api.types[base.name] === undefined) continue;
        const found = plainObject(api, base, depth + 1);
        if (found === undefined) return undefined;
        leavesOut ||= found.leavesOut;
      }
      return { leavesOut };
    }
    case "name": {
      const type = shape.name in api.classes ? undefined : api.types[shape.name];
      return type === undefined ? undefined : plainObject(api, type, depth + 1);
    }
    case "union": {
      const [only, ...others] = shape.of.filter(({ is }) => is !== "undefined");
      return only === undefined || others.length > 0 ? undefined : plainObject(api, only, depth + 1);
    }
    default:
      return undefined;
  }
}

/** Such parameters, as `NvmeNamespace.read(options)`. */
export function optionParameters(api: ApiShape): string[] {
  const found = new Set<string>();
  const look = (label: string, callable: Callable | undefined): void => {
    for (const { name, shape, optional } of callable ?? []) {
      const object = plainObject(api, shape);
      if (object !== undefined && (optional || object.leavesOut)) found.add(`${label}(${name})`);
    }
  };
  for (const name of api.exportedNames) {
    look(name, api.functions[name]);
    const shape = api.classes[name];
    if (shape === undefined) continue;
    look(`new ${name}`, shape.construct);
    for (const [method, callable] of Object.entries({ ...shape.methods, ...shape.statics }))
      look(`${name}.${method}`, callable);
  }
  return [...found];
}
