/**
 * Who else is there. Each node subscribes a channel of its own, which is gone with its connection, and says hello to
 * everybody when it has come. So each knows the channels of the others, and looks now and then whether they are still
 * subscribed. (To list all channels as often would make Redis go through every user's.)
 */
import type { Names } from "./names.ts";
import { pause } from "./pause.ts";

/** Milliseconds between two looks: so soon is it known that a node has crashed. */
const LOOK_EVERY = 500;

/** Milliseconds before the first look after an outage: the others may need as long to come back as this node. */
const GRACE = 2_000;

/** How many subscribers each of these channels has; rejects when that can't be found out. */
export type Count = (channels: readonly string[]) => Promise<ReadonlyMap<string, number>>;

/** The other nodes that this one has heard of. */
export class Neighbours {
  readonly #known = new Set<string>(); // their channels
  readonly #names: Names;
  readonly #own: string;

  /** `id`: this node's own. */
  constructor(names: Names, id: string) {
    this.#names = names;
    this.#own = names.node(id);
  }

  /** A node has said hello. */
  hear(id: string): void {
    this.#add(this.#names.node(id));
  }

  /** Takes notice of the nodes whose channels these are. */
  see(channels: readonly string[]): void {
    for (const channel of channels) if (this.#names.nodeId(channel) !== "") this.#add(channel);
  }

  /**
   * Calls `gone` when somebody has left, until the signal is given or `count` fails. Those who left during an outage
   * are found as well.
   */
  async watch(count: Count, gone: () => void, signal: AbortSignal, afterOutage: boolean): Promise<void> {
    await pause(afterOutage ? GRACE : LOOK_EVERY, signal);
    while (!signal.aborted) {
      if (this.#known.size > 0) {
        const counts = await count([...this.#known]);
        if (signal.aborted) return;
        const left = [...this.#known].filter((channel) => counts.get(channel) === 0);
        for (const channel of left) this.#known.delete(channel);
        if (left.length > 0) gone();
      }
      await pause(LOOK_EVERY, signal);
    }
  }

  #add(channel: string): void {
    if (channel !== this.#own) this.#known.add(channel);
  }
}
