/** Detects announcements that another Redis client recorded and published again. */
import { BoundedMap } from "../../bounded_map.ts";

/** Nodes whose last count is in memory, including nodes that have left. */
const MAX_NODES = 1_000;

/**
 * The counts of the other nodes' announcements. Each node counts from 1, and has an id that no earlier node
 * had.
 */
export class ReplayGuard {
  readonly #lastCounts: BoundedMap<string, number>;

  /** `max` bounds the nodes in memory. */
  constructor(max = MAX_NODES) {
    this.#lastCounts = new BoundedMap(max);
  }

  /** Returns whether the count is higher than every earlier one of this node, and records it in that case. */
  isNew(node: string, count: number): boolean {
    if (count <= (this.#lastCounts.get(node) ?? 0)) return false;
    this.#lastCounts.set(node, count);
    return true;
  }
}
