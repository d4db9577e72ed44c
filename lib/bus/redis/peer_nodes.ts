/**
 * The other nodes. Each node subscribes a channel of its own, which is gone with its connection, and says
 * hello to all nodes when it has come. So each knows the channels of the others, and looks now and then
 * whether they are still subscribed. (To list all channels as often would make Redis go through every
 * user's.)
 *
 * Where a connection is broken without being closed, Redis keeps the channel for as long as its own timeout.
 * So each node also publishes a heartbeat, and is silent for the others while they hear none.
 *
 * A node that closes says goodbye. A channel that is gone without a goodbye is that of a node that was
 * killed, or of one that only lost its connection and goes on committing messages. Nothing in Redis tells
 * which. So such a node is silent for the others until it comes back, for some minutes at the most.
 */
import { BusUnavailableError } from "../bus.ts";
import type { Names } from "./names.ts";
import { sleep } from "../../sleep.ts";

/** Milliseconds between two looks: so soon is it known that a node has crashed. */
const CHECK_INTERVAL_MS = 500;

/**
 * Milliseconds before the first look after an outage: the others may need as long to come back as this node.
 */
const REJOIN_GRACE_MS = 2_000;

/** Looks from one heartbeat to the next: a second. */
const HEARTBEAT_CHECKS = 2;

/**
 * Looks without a heartbeat after which a node is silent: three seconds, of which a busy node may need one.
 * Looks are counted rather than milliseconds, for a process that was held up itself has heard nothing either.
 */
const MAX_SILENT_CHECKS = 6;

/**
 * Looks for which a node whose channel is gone without a goodbye is silent: five minutes. That is what a
 * killed node costs the others, who ask the store meanwhile; and how long a node may be cut off before its
 * messages are late.
 */
export const MAX_VANISHED_CHECKS = 600;

/** What {@link PeerNodes.watch} works with. */
export interface WatchOptions {
  readonly countSubscribers: CountSubscribers;
  /** Publishes a heartbeat. */
  readonly sendHeartbeat: () => void;
  /** A node has left. */
  readonly onNodeLeft: () => void;
  /** Whether some node is silent, at each change. */
  readonly onSilenceChange: (isSilent: boolean) => void;
}

/** What a look has found. */
export interface CheckResult {
  /** Whether a node has left since the look before. */
  readonly hasLeft: boolean;
  /** Whether some node is silent. */
  readonly isSilent: boolean;
}

/** How many subscribers each of these channels has; rejects when that can't be found out. */
export type CountSubscribers = (channels: readonly string[]) => Promise<ReadonlyMap<string, number>>;

/** A node whose channel is there. */
interface KnownNode {
  /** Looks since a heartbeat. */
  checksSinceHeartbeat: number;
  /** It has said goodbye. */
  isLeaving: boolean;
}

/** The other nodes that this one has heard of. */
export class PeerNodes {
  readonly #known = new Map<string, KnownNode>(); // by their channels
  // by channels that were gone without a goodbye, looks since then
  readonly #vanished = new Map<string, number>();
  readonly #names: Names;
  readonly #ownChannel: string;
  #isSilent = false;

  /** `id`: this node's own. */
  constructor(names: Names, id: string) {
    this.#names = names;
    this.#ownChannel = names.node(id);
  }

  /** A node has said hello, or that it still is there. */
  add(id: string): void {
    this.#add(this.#names.node(id));
  }

  /** A node has said goodbye: when its channel is gone, so is the node. */
  markLeaving(id: string): void {
    const node = this.#known.get(this.#names.node(id));
    if (node) node.isLeaving = true;
  }

  /** Takes notice of the nodes whose channels these are. */
  addAll(channels: readonly string[]): void {
    for (const channel of channels) if (this.#names.nodeId(channel) !== "") this.#add(channel);
  }

  /**
   * Looks until the signal is given. What `count` can't tell now may be told at the next look. Nodes that
   * left during an outage are found as well.
   */
  async watch(
    { countSubscribers, sendHeartbeat, onNodeLeft, onSilenceChange }: WatchOptions,
    signal: AbortSignal,
    afterOutage: boolean,
  ): Promise<void> {
    for (const node of this.#known.values()) node.checksSinceHeartbeat = 0; // nothing was heard during an outage
    await sleep(afterOutage ? REJOIN_GRACE_MS : CHECK_INTERVAL_MS, signal);
    for (let round = 0; !signal.aborted; round++) {
      if (round % HEARTBEAT_CHECKS === 0) sendHeartbeat();
      const channels = [...this.#known.keys()];
      const counts = channels.length > 0
        ? await countSubscribers(channels).catch(emptyIfUnavailable)
        : NO_COUNTS;
      if (signal.aborted) return;
      const { hasLeft, isSilent } = this.check(counts);
      if (hasLeft) onNodeLeft();
      if (isSilent !== this.#isSilent) onSilenceChange(this.#isSilent = isSilent);
      await sleep(CHECK_INTERVAL_MS, signal);
    }
  }

  /** Counts a look, at which known nodes' channels had so many subscribers, as far as that could be told. */
  check(counts: ReadonlyMap<string, number>): CheckResult {
    for (const [channel, checks] of this.#vanished) {
      if (checks + 1 < MAX_VANISHED_CHECKS) this.#vanished.set(channel, checks + 1);
      else this.#vanished.delete(channel);
    }
    let hasLeft = false;
    let isSilent = false;
    for (const [channel, node] of this.#known) {
      node.checksSinceHeartbeat++;
      if (counts.get(channel) === 0) {
        hasLeft = true;
        this.#known.delete(channel);
        if (!node.isLeaving) this.#vanished.set(channel, 0);
      } else if (node.checksSinceHeartbeat > MAX_SILENT_CHECKS) isSilent = true;
    }
    return { hasLeft, isSilent: isSilent || this.#vanished.size > 0 };
  }

  #add(channel: string): void {
    if (channel === this.#ownChannel) return;
    this.#known.set(channel, { checksSinceHeartbeat: 0, isLeaving: false });
    this.#vanished.delete(channel);
  }
}

const NO_COUNTS: ReadonlyMap<string, number> = new Map();

/** The counts while Redis refuses to tell them. When the connection has ended, the signal follows. */
function emptyIfUnavailable(error: unknown): ReadonlyMap<string, number> {
  if (error instanceof BusUnavailableError) return NO_COUNTS;
  throw error;
}
