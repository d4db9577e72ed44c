/** Tells a node's announcements from those that were recorded and are published once more. */

/** Nodes whose last number is remembered, those that are gone among them. */
const MAX_REMEMBERED = 1_000;

/**
 * The numbers of what other nodes say to all. Each node counts from 1, and has an id that no earlier one had.
 */
export class Counters {
  readonly #last = new Map<string, number>(); // the least recently heard first
  readonly #max: number;

  /** At most `max` nodes are remembered. */
  constructor(max = MAX_REMEMBERED) {
    this.#max = max;
  }

  /** Whether the number is higher than all that were heard of this node. From now on it is the last one. */
  isNew(node: string, count: number): boolean {
    if (count <= (this.#last.get(node) ?? 0)) return false;
    this.#last.delete(node);
    this.#last.set(node, count);
    if (this.#last.size > this.#max) this.#last.delete(this.#last.keys().next().value!);
    return true;
  }
}
