/** The channels on which hints were lost: their nodes must be told to look for themselves. */

/**
 * Channels that are remembered. Beyond that, so many of the nodes' users are concerned that all nodes may
 * look.
 */
const MAX_CHANNELS = 10_000;

/** Names of channels on which a hint of messages was lost. */
export class LostNotifications {
  readonly #allNodes: string;
  #channels = new Set<string>();

  /** `allNodes`: the channel to which all nodes listen. */
  constructor(allNodes: string) {
    this.#allNodes = allNodes;
  }

  /** Remembers a channel. */
  add(channel: string): void {
    if (this.#channels.has(this.#allNodes)) return;
    this.#channels.add(channel);
    if (this.#channels.size > MAX_CHANNELS) this.#channels = new Set([this.#allNodes]);
  }

  /** Forgets and gives what there was. */
  drain(): Iterable<string> {
    const channels = this.#channels;
    this.#channels = new Set();
    return channels;
  }
}
