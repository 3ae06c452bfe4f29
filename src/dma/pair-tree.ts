/**
 * An ordered set of pairs of numbers: a treap, whose expected cost of every operation is logarithmic whatever the order
 * of insertion. Each node knows the largest second number below it, so that searches for "at least this large" skip
 * whole subtrees.
 */

export interface PairNode<V> {
  /** First part of the key. */
  readonly a: number;
  /** Second part: tells apart what has the same first. */
  readonly b: number;
  readonly value: V;
}

interface Node<V> extends PairNode<V> {
  readonly priority: number;
  /** Largest `b` of this node and all below. */
  maxB: number;
  left: Node<V> | undefined;
  right: Node<V> | undefined;
}

function precedes(a: number, b: number, node: PairNode<unknown>): boolean {
  return a < node.a || (a === node.a && b < node.b);
}

function refresh(node: Node<unknown>): void {
  let max = node.b;
  if (node.left !== undefined && node.left.maxB > max) max = node.left.maxB;
  if (node.right !== undefined && node.right.maxB > max) max = node.right.maxB;
  node.maxB = max;
}

export class PairTree<V> {
  private root: Node<V> | undefined;
  private count = 0;
  // Seeded, so that a failure can be repeated.
  private random = 0x2545_f491;

  get size(): number {
    return this.count;
  }

  /** Largest `b` in the tree; 0 where it is empty. */
  get maxB(): number {
    return this.root?.maxB ?? 0;
  }

  /** Longest way from the root to a node, in nodes: what an operation costs at worst. */
  get height(): number {
    const below = (node: Node<V> | undefined): number =>
      node === undefined ? 0 : 1 + Math.max(below(node.left), below(node.right));
    return below(this.root);
  }

  /** Adds a pair that isn't there yet. */
  insert(a: number, b: number, value: V): void {
    this.random ^= this.random << 13;
    this.random ^= this.random >>> 17;
    this.random ^= this.random << 5;
    const node = { a, b, value, priority: this.random, maxB: b, left: undefined, right: undefined };
    this.root = insertNode(this.root, node);
    this.count++;
  }

  /** @returns whether the pair was there */
  delete(a: number, b: number): boolean {
    const before = this.count;
    this.root = this.remove(this.root, a, b);
    return this.count < before;
  }

  /** The last pair not after (a, b). */
  floor(a: number, b: number): PairNode<V> | undefined {
    let found: Node<V> | undefined;
    for (let node = this.root; node !== undefined; ) {
      if (precedes(a, b, node)) node = node.left;
      else {
        found = node;
        node = node.right;
      }
    }
    return found;
  }

  /** The first pair not before (a, b). */
  ceil(a: number, b: number): PairNode<V> | undefined {
    let found: Node<V> | undefined;
    for (let node = this.root; node !== undefined; ) {
      if (a === node.a && b === node.b) return node;
      if (precedes(a, b, node)) {
        found = node;
        node = node.left;
      } else node = node.right;
    }
    return found;
  }

  /**
   * In ascending order, what `accept` makes of the first pair for which that isn't undefined. Subtrees without a `b` of at
   * least `minB` are skipped; so is what lies before the last pair at or below `from`, and what lies after `to`.
   */
  search<T>(
    minB: number,
    from: number,
    to: number,
    accept: (node: PairNode<V>) => T | undefined,
  ): T | undefined {
    const visit = (node: Node<V> | undefined): T | undefined => {
      if (node === undefined || node.maxB < minB) return undefined;
      if (node.a > from) {
        const found = visit(node.left);
        if (found !== undefined) return found;
      }
      if (node.a > to) return undefined;
      if (node.b >= minB) {
        const found = accept(node);
        if (found !== undefined) return found;
      }
      return visit(node.right);
    };
    return visit(this.root);
  }

  private remove(node: Node<V> | undefined, a: number, b: number): Node<V> | undefined {
    if (node === undefined) return undefined;
    if (node.a === a && node.b === b) {
      this.count--;
      return merge(node.left, node.right);
    }
    if (precedes(a, b, node)) node.left = this.remove(node.left, a, b);
    else node.right = this.remove(node.right, a, b);
    refresh(node);
    return node;
  }
}

function insertNode<V>(root: Node<V> | undefined, node: Node<V>): Node<V> {
  if (root === undefined) return node;
  if (node.priority > root.priority) {
    splitAt(root, node);
    refresh(node);
    return node;
  }
  if (precedes(node.a, node.b, root)) root.left = insertNode(root.left, node);
  else root.right = insertNode(root.right, node);
  refresh(root);
  return root;
}

/** Hangs what `tree` holds below `node`: what precedes it to the left, the rest to the right. */
function splitAt<V>(tree: Node<V>, node: Node<V>): void {
  const split = (part: Node<V> | undefined): [Node<V> | undefined, Node<V> | undefined] => {
    if (part === undefined) return [undefined, undefined];
    if (precedes(part.a, part.b, node)) {
      const [left, right] = split(part.right);
      part.right = left;
      refresh(part);
      return [part, right];
    }
    const [left, right] = split(part.left);
    part.left = right;
    refresh(part);
    return [left, part];
  };
  [node.left, node.right] = split(tree);
}

/** All of `left` precedes all of `right`. */
function merge<V>(left: Node<V> | undefined, right: Node<V> | undefined): Node<V> | undefined {
  if (left === undefined) return right;
  if (right === undefined) return left;
  if (left.priority > right.priority) {
    left.right = merge(left.right, right);
    refresh(left);
    return left;
  }
  right.left = merge(left, right.left);
  refresh(right);
  return right;
}
