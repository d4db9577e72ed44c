/** The channels with lost hints: the sessions on them must check the store. */

/** Channels in memory. A loss on more channels affects so many users that all nodes may check. */
const MAX_CHANNELS = 10_000;

/** The names of channels with a lost hint of a message. */
export class LostNotifications {
  readonly #allNodes: string;
  #channels = new Set<string>();

  /** `allNodes` is the name of the channel that all nodes subscribe. */
  constructor(allNodes: string) {
    this.#allNodes = allNodes;
  }

  /** Adds a channel. */
  add(channel: string): void {
    if (this.#channels.has(this.#allNodes)) return;
    this.#channels.add(channel);
    if (this.#channels.size > MAX_CHANNELS) this.#channels = new Set([this.#allNodes]);
  }

  /** Removes and returns all channels. */
  drain(): Iterable<string> {
    const channels = this.#channels;
    this.#channels = new Set();
    return channels;
  }
}
