/** What the other nodes could not be told, and must be told to look for themselves. */
/** How many channels are remembered: beyond that, so many of the nodes' users are concerned that all may look. */
const REMEMBERED = 10_000;

/** Names of channels on which a hint of messages was lost. */
export class Missed {
  readonly #everybody: string;
  #channels = new Set<string>();

  /** `everybody`: the channel to which all nodes listen. */
  constructor(everybody: string) {
    this.#everybody = everybody;
  }

  add(channel: string): void {
    if (this.#channels.has(this.#everybody)) return;
    this.#channels.add(channel);
    if (this.#channels.size > REMEMBERED) this.#channels = new Set([this.#everybody]);
  }

  /** Forgets and gives what there was. */
  take(): Iterable<string> {
    const taken = this.#channels;
    this.#channels = new Set();
    return taken;
  }
}
