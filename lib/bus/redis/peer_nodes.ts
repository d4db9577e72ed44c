/**
 * The other nodes. Each node subscribes a channel of its own, which ends with its connection, and announces
 * itself to all nodes by a hello. So each node knows the channels of the others, and checks periodically that
 * they are still subscribed. (To list all channels each time would make Redis go through the channels of all
 * users.)
 *
 * If a connection breaks without being closed, Redis keeps the channel until its own timeout. So each node
 * also publishes heartbeats, and counts as silent while they do not arrive.
 *
 * A node that closes publishes a goodbye. A channel that ends without a goodbye is that of a node that
 * crashed, or of one that lost its connection to Redis. The latter still commits messages, and Redis cannot
 * distinguish the two. So such a node counts as silent until it rejoins, for some minutes at most.
 */
import { BusUnavailableError } from "../bus.ts";
import type { Names } from "./names.ts";
import { sleep } from "../../sleep.ts";

/** Milliseconds between two checks, and so the time after which a crash is noticed. */
const CHECK_INTERVAL_MS = 500;

/**
 * Milliseconds before the first check after an outage: the other nodes may need as long to rejoin as this
 * one.
 */
const REJOIN_GRACE_MS = 2_000;

/** Checks between two heartbeats: one second. */
const HEARTBEAT_CHECKS = 2;

/**
 * Checks without a heartbeat after which a node is silent: three seconds. The heartbeat of a busy node may be
 * one second late. The unit is checks and not milliseconds: a process that was blocked has received nothing
 * either.
 */
const MAX_SILENT_CHECKS = 6;

/**
 * Checks for which a node counts as silent after it left without a goodbye: five minutes. While a node is
 * silent, the others poll the store. A node that is cut off for longer delivers its messages late.
 */
export const MAX_VANISHED_CHECKS = 600;

/** The parameters of {@link PeerNodes.watch}. */
export interface WatchOptions {
  readonly countSubscribers: CountSubscribers;
  /** Publishes a heartbeat. */
  readonly sendHeartbeat: () => void;
  /** Called when a node has left. */
  readonly onNodeLeft: () => void;
  /** Called when the set of silent nodes becomes empty or stops being empty. */
  readonly onSilenceChange: (isSilent: boolean) => void;
}

/** The result of a check. */
export interface CheckResult {
  /** Whether a node has left since the check before. */
  readonly hasLeft: boolean;
  /** Whether a node is silent. */
  readonly isSilent: boolean;
}

/** Returns the number of subscribers of each channel. Rejects if Redis gives no answer. */
export type CountSubscribers = (channels: readonly string[]) => Promise<ReadonlyMap<string, number>>;

/** A node whose channel had a subscriber at the last check. */
interface KnownNode {
  /** Checks since the last heartbeat. */
  checksSinceHeartbeat: number;
  /** Whether the node has said goodbye. */
  isLeaving: boolean;
}

/** The other nodes that this node knows. */
export class PeerNodes {
  readonly #known = new Map<string, KnownNode>(); // by their channels
  // checks since a channel ended without a goodbye, by channel
  readonly #vanished = new Map<string, number>();
  readonly #names: Names;
  readonly #ownChannel: string;
  #isSilent = false;

  /** `id` is the id of this node. */
  constructor(names: Names, id: string) {
    this.#names = names;
    this.#ownChannel = names.node(id);
  }

  /** Records a hello or a heartbeat of a node. */
  add(id: string): void {
    this.#add(this.#names.node(id));
  }

  /** Records the goodbye of a node: the end of its channel is then the end of the node. */
  markLeaving(id: string): void {
    const node = this.#known.get(this.#names.node(id));
    if (node) node.isLeaving = true;
  }

  /** Adds the nodes with these channels. Ignores the channels of all nodes and of this node. */
  addAll(channels: readonly string[]): void {
    for (const channel of channels) if (this.#names.nodeId(channel) !== "") this.#add(channel);
  }

  /**
   * Checks the nodes every {@link CHECK_INTERVAL_MS} until the signal aborts. If Redis refuses to count the
   * subscribers, the check only finds silent nodes. The first check also finds nodes that left during an
   * outage.
   */
  async watch(
    { countSubscribers, sendHeartbeat, onNodeLeft, onSilenceChange }: WatchOptions,
    signal: AbortSignal,
    afterOutage: boolean,
  ): Promise<void> {
    for (const node of this.#known.values()) node.checksSinceHeartbeat = 0; // an outage has no heartbeats
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

  /** Updates the nodes by the numbers of subscribers of their channels, as far as `counts` has them. */
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

/** Returns no counts for a refusal of Redis. If the connection has ended, the signal aborts soon. */
function emptyIfUnavailable(error: unknown): ReadonlyMap<string, number> {
  if (error instanceof BusUnavailableError) return NO_COUNTS;
  throw error;
}
