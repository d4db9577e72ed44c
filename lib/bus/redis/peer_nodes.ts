/**
 * The other nodes. Each node subscribes a channel of its own, which is gone with its connection, and says hello to
 * all nodes when it has come. So each knows the channels of the others, and looks now and then whether they are still
 * subscribed. (To list all channels as often would make Redis go through every user's.)
 *
 * Where a connection is broken without being closed, Redis keeps the channel for as long as its own timeout. So each node
 * also publishes a heartbeat, and is silent for the others while they hear none.
 */
import { BusUnavailable } from "../bus.ts";
import type { Names } from "./names.ts";
import { pause } from "./pause.ts";

/** Milliseconds between two looks: so soon is it known that a node has crashed. */
const CHECK_INTERVAL_MS = 500;

/** Milliseconds before the first look after an outage: the others may need as long to come back as this node. */
const REJOIN_GRACE_MS = 2_000;

/** Looks from one heartbeat to the next: a second. */
const HEARTBEAT_CHECKS = 2;

/**
 * Looks without a heartbeat after which a node is silent: three seconds, of which a busy node may need one. Looks are
 * counted rather than milliseconds, for a process that was held up itself has heard nothing either.
 */
const MAX_SILENT_CHECKS = 6;

/** What {@link PeerNodes.watch} works with. */
export interface Watch {
  readonly count: Count;
  /** Publishes a heartbeat. */
  readonly beat: () => void;
  /** A node has left. */
  readonly gone: () => void;
  /** Whether some node is silent, at each change. */
  readonly silent: (isSilent: boolean) => void;
}

/** How many subscribers each of these channels has; rejects when that can't be found out. */
export type Count = (channels: readonly string[]) => Promise<ReadonlyMap<string, number>>;

/** The other nodes that this one has heard of. */
export class PeerNodes {
  readonly #known = new Map<string, number>(); // by their channels, looks since a heartbeat
  readonly #names: Names;
  readonly #own: string;
  #isSilent = false;

  /** `id`: this node's own. */
  constructor(names: Names, id: string) {
    this.#names = names;
    this.#own = names.node(id);
  }

  /** A node has said hello, or that it still is there. */
  add(id: string): void {
    this.#add(this.#names.node(id));
  }

  /** Takes notice of the nodes whose channels these are. */
  addAll(channels: readonly string[]): void {
    for (const channel of channels) if (this.#names.nodeId(channel) !== "") this.#add(channel);
  }

  /**
   * Looks until the signal is given. What `count` can't tell now may be told at the next look. Nodes that left during
   * an outage are found as well.
   */
  async watch(
    { count, beat, gone, silent }: Watch,
    signal: AbortSignal,
    afterOutage: boolean,
  ): Promise<void> {
    for (const channel of this.#known.keys()) this.#known.set(channel, 0); // nothing was heard during an outage
    await pause(afterOutage ? REJOIN_GRACE_MS : CHECK_INTERVAL_MS, signal);
    for (let look = 0; !signal.aborted; look++) {
      if (look % HEARTBEAT_CHECKS === 0) beat();
      for (const [channel, looks] of this.#known) this.#known.set(channel, looks + 1);
      if (this.#known.size > 0) {
        const counts = await count([...this.#known.keys()]).catch(unknown);
        if (signal.aborted) return;
        const left = [...this.#known.keys()].filter((channel) => counts.get(channel) === 0);
        for (const channel of left) this.#known.delete(channel);
        if (left.length > 0) gone();
      }
      const isSilent = [...this.#known.values()].some((looks) => looks > MAX_SILENT_CHECKS);
      if (isSilent !== this.#isSilent) silent(this.#isSilent = isSilent);
      await pause(CHECK_INTERVAL_MS, signal);
    }
  }

  #add(channel: string): void {
    if (channel !== this.#own) this.#known.set(channel, 0);
  }
}

/** The counts while Redis refuses to tell them. When the connection has ended, the signal follows. */
function unknown(error: unknown): ReadonlyMap<string, number> {
  if (error instanceof BusUnavailable) return new Map();
  throw error;
}
