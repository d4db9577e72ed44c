/**
 * How many bytes an account may store in a day, in the whole cluster. The nodes count in one bucket of the
 * bus. A session pays ahead, as one message after the other would be a question to Redis each; while the bus
 * can't be reached each node counts for itself, so that an outage opens no gate.
 */
import { Buffer } from "node:buffer";
import { NamedBuckets } from "../../bus/gcra.ts";
import { type Bus, BusUnavailable, type Quota } from "../../bus/bus.ts";
import type { Appended, Refused } from "../../store/store.ts";
import { Errno } from "../../wire/protocol.ts";
import { RequestError } from "../protocol/reply_body.ts";

const DAY_MS = 86_400_000;

/**
 * Bytes that a message takes in the log beside its text: its row's other columns, and its place in two
 * indexes, roughly.
 */
export const ROW_BYTES = 200;

/**
 * Bytes that a session pays ahead the first time. They are lost with it: a client that often reconnects has
 * enough.
 */
const FIRST_AHEAD_BYTES = 4_096;

/**
 * Bytes that it pays ahead at most, doubling them each time: hundreds of short messages, and a small part of
 * a day's.
 */
const MAX_AHEAD_BYTES = 65_536;

/**
 * Milliseconds that a client is told to wait at most: to ask too soon costs little, and the limit may be
 * raised by then.
 */
const MAX_RETRY_AFTER_MS = 60_000;

/** What a session has paid ahead. */
interface Purse {
  bytes: number;
  ahead: number; // bytes to pay ahead the next time
  waiting: number; // messages that wait for the bus
  last: Promise<unknown>; // of these
}

/** The account of a session, by which it is told apart from others. */
interface Payer {
  readonly user: number;
}

/** Returns the bytes that a message is counted for. */
export function storedBytes(body: string, cid: string): number {
  return ROW_BYTES + Buffer.byteLength(body) + Buffer.byteLength(cid);
}

/** Counts what accounts store. */
export class StorageQuota {
  readonly #bus: Pick<Bus, "spend">;
  readonly #own: Pick<NamedBuckets, "spend">;
  readonly #quota: Quota | undefined;
  readonly #purses = new WeakMap<Payer, Purse>();

  /** `dailyBytes`: 0 for no limit. `own`: another one in tests. */
  constructor(
    bus: Pick<Bus, "spend">,
    dailyBytes: number,
    own: Pick<NamedBuckets, "spend"> = new NamedBuckets(),
  ) {
    this.#bus = bus;
    this.#own = own;
    this.#quota = dailyBytes > 0 ? { size: dailyBytes, within: DAY_MS } : undefined;
  }

  /**
   * Has a message of so many bytes stored, in the order of the calls for a session; it is counted unless it
   * is a repeat, or is not stored. If the account has stored too much, only a repeat is accepted (`append` is
   * told so); for any other message it rejects with a {@link RequestError}.
   */
  store(
    session: Payer,
    bytes: number,
    append: (isRepeat: boolean) => Promise<Appended | Refused>,
  ): Promise<Appended | Refused> {
    if (!this.#quota) return append(false);
    const purse = this.#purseOf(session);
    const run = async () => {
      let isCounted = false;
      try {
        const result = await append(false);
        isCounted = !("refused" in result) && !result.repeated;
        return result;
      } finally {
        if (!isCounted) purse.bytes += bytes;
      }
    };
    if (purse.waiting === 0 && purse.bytes >= bytes) {
      purse.bytes -= bytes;
      return run();
    }
    return this.#later(session, purse, bytes, run, () => append(true));
  }

  /** Behind those of the session that wait already: none overtakes another. */
  async #later(
    session: Payer,
    purse: Purse,
    bytes: number,
    run: () => Promise<Appended | Refused>,
    repeat: () => Promise<Appended | Refused>,
  ): Promise<Appended | Refused> {
    purse.waiting++;
    const begun = purse.last.then(async () => {
      try {
        await this.#pay(session, purse, bytes);
        return { result: run() }; // begun, and not waited for
      } finally {
        purse.waiting--;
      }
    });
    purse.last = begun.catch(() => {});
    let begin;
    try {
      begin = await begun;
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      const result = await repeat();
      if ("refused" in result && result.refused === "over_quota") throw error;
      return result;
    }
    return await begin.result;
  }

  async #pay({ user }: Payer, purse: Purse, bytes: number): Promise<void> {
    const lacking = Math.max(0, bytes - purse.bytes);
    let wait = 0;
    if (lacking > 0) {
      const bucket = `stored:${user}`;
      let ahead = purse.ahead;
      wait = await this.#spend(bucket, lacking + ahead);
      if (wait > 0 && ahead > 0) {
        ahead = 0;
        wait = await this.#spend(bucket, lacking);
      }
      purse.ahead = wait > 0 ? 0 : Math.min(Math.max(2 * ahead, FIRST_AHEAD_BYTES), MAX_AHEAD_BYTES);
      if (wait === 0) purse.bytes += lacking + ahead;
    }
    if (wait > 0) {
      throw new RequestError(
        Errno.RATE_LIMITED,
        "your account has stored as much as it may in a day",
        Math.min(wait, MAX_RETRY_AFTER_MS),
      );
    }
    purse.bytes -= bytes;
  }

  async #spend(bucket: string, bytes: number): Promise<number> {
    try {
      return await this.#bus.spend(bucket, this.#quota!, bytes);
    } catch (error) {
      if (!(error instanceof BusUnavailable)) throw error;
      return this.#own.spend(bucket, this.#quota!, bytes);
    }
  }

  #purseOf(session: Payer): Purse {
    let purse = this.#purses.get(session);
    if (!purse) {
      purse = { bytes: 0, ahead: FIRST_AHEAD_BYTES, waiting: 0, last: Promise.resolve() };
      this.#purses.set(session, purse);
    }
    return purse;
  }
}
