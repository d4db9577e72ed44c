/** Tells a node's announcements from those that were recorded and are published once more. */

/** Nodes whose last number is remembered, those that are gone among them. */
const MAX_NODES = 1_000;

/**
 * The numbers of what other nodes say to all. Each node counts from 1, and has an id that no earlier one had.
 */
export class ReplayGuard {
  readonly #lastCounts = new Map<string, number>(); // the least recently heard first
  readonly #max: number;

  /** At most `max` nodes are remembered. */
  constructor(max = MAX_NODES) {
    this.#max = max;
  }

  /** Whether the number is higher than all that were heard of this node. From now on it is the last one. */
  isNew(node: string, count: number): boolean {
    if (count <= (this.#lastCounts.get(node) ?? 0)) return false;
    this.#lastCounts.delete(node);
    this.#lastCounts.set(node, count);
    if (this.#lastCounts.size > this.#max) this.#lastCounts.delete(this.#lastCounts.keys().next().value!);
    return true;
  }
}
