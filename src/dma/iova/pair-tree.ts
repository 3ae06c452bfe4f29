/**
 * An ordered map whose keys are pairs of numbers: a treap. The expected cost of each operation is logarithmic, in any order
 * of insertion.
 */
interface Node<V> {
  /** First part of the key. */
  readonly a: number;
  /** Second part of the key. */
  readonly b: number;
  readonly value: V;
  readonly priority: number;
  left: Node<V> | undefined;
  right: Node<V> | undefined;
}

function precedes(a: number, b: number, node: Node<unknown>): boolean {
  return a < node.a || (a === node.a && b < node.b);
}

export class PairTree<V> {
  private root: Node<V> | undefined;
  // A fixed seed makes failures repeatable.
  private random = 0x2545_f491;

  /** Adds a new key. */
  insert(a: number, b: number, value: V): void {
    this.random ^= this.random << 13;
    this.random ^= this.random >>> 17;
    this.random ^= this.random << 5;
    const node = { a, b, value, priority: this.random, left: undefined, right: undefined };
    this.root = insertNode(this.root, node);
  }

  /** Removes a key. Ignores a missing one. */
  delete(a: number, b: number): void {
    this.root = removeNode(this.root, a, b);
  }

  /** Value of the last key up to and including (a, b). */
  floor(a: number, b: number): V | undefined {
    let found: V | undefined;
    for (let node = this.root; node !== undefined; ) {
      if (precedes(a, b, node)) node = node.left;
      else {
        found = node.value;
        node = node.right;
      }
    }
    return found;
  }
}

function insertNode<V>(root: Node<V> | undefined, node: Node<V>): Node<V> {
  if (root === undefined) return node;
  if (node.priority > root.priority) {
    splitAt(root, node);
    return node;
  }
  if (precedes(node.a, node.b, root)) root.left = insertNode(root.left, node);
  else root.right = insertNode(root.right, node);
  return root;
}

function removeNode<V>(node: Node<V> | undefined, a: number, b: number): Node<V> | undefined {
  if (node === undefined) return undefined;
  if (node.a === a && node.b === b) return merge(node.left, node.right);
  if (precedes(a, b, node)) node.left = removeNode(node.left, a, b);
  else node.right = removeNode(node.right, a, b);
  return node;
}

/** Splits `tree` into the children of `node`: left what precedes it, right the rest. */
function splitAt<V>(tree: Node<V>, node: Node<V>): void {
  const split = (part: Node<V> | undefined): [Node<V> | undefined, Node<V> | undefined] => {
    if (part === undefined) return [undefined, undefined];
    if (precedes(part.a, part.b, node)) {
      const [left, right] = split(part.right);
      part.right = left;
      return [part, right];
    }
    const [left, right] = split(part.left);
    part.left = right;
    return [left, part];
  };
  [node.left, node.right] = split(tree);
}

/** Joins two trees; all keys of `left` precede those of `right`. */
function merge<V>(left: Node<V> | undefined, right: Node<V> | undefined): Node<V> | undefined {
  if (left === undefined) return right;
  if (right === undefined) return left;
  if (left.priority > right.priority) {
    left.right = merge(left.right, right);
    return left;
  }
  right.left = merge(left, right.left);
  return right;
}
