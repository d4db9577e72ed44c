/** What the parts of the bus's contract share: two nodes, and a listener that records what it is told. */
import type { Bus, BusListener, Channel, Hint, RateLimit } from "../../lib/bus/bus.ts";

/** Two nodes' connections to one bus that no other is on. */
export interface TwoNodes {
  readonly a: Bus;
  readonly b: Bus;
  /** Closes what the test has not, and removes what the bus needed. */
  close(): Promise<void>;
}

/** Milliseconds that a condition may take to come true: far more than any should, on a busy machine. */
export const PATIENCE = 20_000;

/** A hint of a message that tests a bus's encoding. */
export const message = (seq: number): Hint => ({
  kind: "message",
  message: {
    seq,
    sender: 7,
    senderName: "ann",
    cid: `c\u0000${seq}`,
    body: "hi\u0000 😀",
    time: 1_700_000_000_000,
  },
});

/** A hint of each kind. */
export const hints: readonly Hint[] = [
  message(1),
  { kind: "resync" },
  { kind: "presence", user: 7 },
  { kind: "joined", group: 7 },
  { kind: "takeover", loginEpoch: 2 ** 53 - 1 },
];

/** What a node is told, as it comes. */
export class Heard implements BusListener {
  readonly hints: [Channel, Hint][] = [];
  /** The reasons of the outages. */
  readonly downs: Error[] = [];
  ups = 0;
  /** How often a node was reported as come, or as gone. */
  arrived = 0;
  left = 0;
  /** Whether some node was reported as silent, at each change. */
  readonly silences: boolean[] = [];
  #changed = Promise.withResolvers<void>();

  onHint(channel: Channel, hint: Hint): void {
    this.hints.push([channel, hint]);
    this.#tell();
  }

  onBusDown(why: Error): void {
    this.downs.push(why);
    this.#tell();
  }

  onBusUp(): void {
    this.ups++;
    this.#tell();
  }

  onNodeJoined(): void {
    this.arrived++;
    this.#tell();
  }

  onNodeLeft(): void {
    this.left++;
    this.#tell();
  }

  onSilenceChange(isSilent: boolean): void {
    this.silences.push(isSilent);
    this.#tell();
  }

  /** Waits for as many hints, and gives all there are. */
  async atLeast(count: number): Promise<[Channel, Hint][]> {
    await this.until(() => this.hints.length >= count, () => `only ${this.hints.length} hints of ${count}`);
    return this.hints;
  }

  /** Waits until something it was told has made `condition` true. `otherwise` says what is the case instead. */
  async until(condition: () => boolean, otherwise: () => string): Promise<void> {
    const deadline = Promise.withResolvers<never>();
    const timer = setTimeout(() => deadline.reject(new Error(otherwise())), PATIENCE);
    try {
      while (!condition()) await Promise.race([this.#changed.promise, deadline.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** Registers one test: its name, and its body, which gets both nodes and what each is told. */
export type BusTest = (
  what: string,
  body: (a: Bus, b: Bus, atA: Heard, atB: Heard) => Promise<void>,
) => void;

/** A quota of which so little comes back during a test that it may be taken for nothing. */
export const HOURLY: RateLimit = { burst: 7, periodMs: 3_600_000 };

let buckets = 0;

/** A bucket that is unused. */
export function freshBucket(): string {
  return `test:${++buckets}:2001:db8::/64`;
}

/** Asks until the answer is as wanted, or time is up; gives the last answer. */
export async function until<T>(ask: () => Promise<T>, wanted: (answer: T) => boolean): Promise<T> {
  const deadline = Date.now() + PATIENCE;
  while (true) {
    const answer = await ask();
    if (wanted(answer) || Date.now() > deadline) return answer;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
