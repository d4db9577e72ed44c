/** Tells a node's announcements from those that were recorded and are published once more. */
import { BoundedMap } from "../../bounded_map.ts";

/** Nodes whose last number is remembered, those that are gone among them. */
const MAX_NODES = 1_000;

/**
 * The numbers of what other nodes say to all. Each node counts from 1, and has an id that no earlier one had.
 */
export class ReplayGuard {
  readonly #lastCounts: BoundedMap<string, number>;

  /** At most `max` nodes are remembered. */
  constructor(max = MAX_NODES) {
    this.#lastCounts = new BoundedMap(max);
  }

  /** Whether the number is higher than all that were heard of this node. From now on it is the last one. */
  isNew(node: string, count: number): boolean {
    if (count <= (this.#lastCounts.get(node) ?? 0)) return false;
    this.#lastCounts.set(node, count);
    return true;
  }
}
