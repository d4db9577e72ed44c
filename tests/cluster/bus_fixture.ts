/** Helpers for the contract of the bus: two nodes, and a listener that records all events. */
import type { Bus, BusListener, Channel, Hint, RateLimit } from "../../lib/bus/bus.ts";
import { TIMEOUT_MS } from "../harness/wait.ts";

/** The connections of two nodes to one bus without other nodes. */
export interface TwoNodes {
  readonly a: Bus;
  readonly b: Bus;
  /** Closes connections that the test has not closed, and removes the resources of the bus. */
  close(): Promise<void>;
}

/** Returns a hint of a message that tests the encoding of a bus. */
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

/** Records the events of a node. */
export class EventRecorder implements BusListener {
  readonly hints: [Channel, Hint][] = [];
  /** The reasons of the outages. */
  readonly downErrors: Error[] = [];
  upCount = 0;
  /** The numbers of nodes that were reported as joined, and as left. */
  joined = 0;
  left = 0;
  /** The reported silence of other nodes, at each change. */
  readonly silences: boolean[] = [];
  #changed = Promise.withResolvers<void>();

  onHint(channel: Channel, hint: Hint): void {
    this.hints.push([channel, hint]);
    this.#notify();
  }

  onBusDown(error: Error): void {
    this.downErrors.push(error);
    this.#notify();
  }

  onBusUp(): void {
    this.upCount++;
    this.#notify();
  }

  onNodeJoined(): void {
    this.joined++;
    this.#notify();
  }

  onNodeLeft(): void {
    this.left++;
    this.#notify();
  }

  onSilenceChange(isSilent: boolean): void {
    this.silences.push(isSilent);
    this.#notify();
  }

  /** Waits for a number of hints, and returns all hints. */
  async atLeast(count: number): Promise<[Channel, Hint][]> {
    await this.until(() => this.hints.length >= count, () => `only ${this.hints.length} hints of ${count}`);
    return this.hints;
  }

  /** Waits until an event has made `condition` true. `otherwise` describes the failure. */
  async until(condition: () => boolean, otherwise: () => string): Promise<void> {
    const deadline = Promise.withResolvers<never>();
    const timer = setTimeout(() => deadline.reject(new Error(otherwise())), TIMEOUT_MS);
    try {
      while (!condition()) await Promise.race([this.#changed.promise, deadline.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** Registers one test: its name, and its body, which gets two nodes and their recorded events. */
export type BusTest = (
  name: string,
  body: (a: Bus, b: Bus, atA: EventRecorder, atB: EventRecorder) => Promise<void>,
) => void;

/** A limit that refills too slowly to matter during a test. */
export const HOURLY: RateLimit = { burst: 7, periodMs: 3_600_000 };

let buckets = 0;

/** Returns an unused bucket. */
export function freshBucket(): string {
  return `test:${++buckets}:2001:db8::/64`;
}
