/**
 * How many bytes an account may store in a day, in the whole cluster. The nodes count in one bucket of the
 * bus. A session pays ahead, as one message after the other would be a question to Redis each; while the bus
 * can't be reached each node counts for itself, so that an outage opens no gate.
 */
import { Buffer } from "node:buffer";
import { KeyedRateLimiter } from "../../bus/gcra.ts";
import { type Bus, BusUnavailableError, type RateLimit } from "../../bus/bus.ts";
import type { Appended, Rejection } from "../../store/store.ts";
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
const FIRST_RESERVATION_BYTES = 4_096;

/**
 * Bytes that it pays ahead at most, doubling them each time: hundreds of short messages, and a small part of
 * a day's.
 */
const MAX_RESERVATION_BYTES = 65_536;

/**
 * Milliseconds that a client is told to wait at most: to ask too soon costs little, and the limit may be
 * raised by then.
 */
const MAX_RETRY_AFTER_MS = 60_000;

/** What a session has paid ahead. */
interface Reservation {
  bytes: number;
  nextBytes: number; // bytes to pay ahead the next time
  waitingCount: number; // messages that wait for the bus
  lastWaiting: Promise<unknown>; // of these
}

/** The account of a session, by which it is told apart from others. */
interface QuotaHolder {
  readonly user: number;
}

/** Returns the bytes that a message is counted for. */
export function storedBytes(body: string, cid: string): number {
  return ROW_BYTES + Buffer.byteLength(body) + Buffer.byteLength(cid);
}

/** Counts what accounts store. */
export class StorageQuota {
  readonly #bus: Pick<Bus, "tryConsume">;
  readonly #localLimiter: Pick<KeyedRateLimiter, "tryConsume">;
  readonly #rateLimit: RateLimit | undefined;
  readonly #reservations = new WeakMap<QuotaHolder, Reservation>();

  /** `dailyBytes`: 0 for no limit. `own`: another one in tests. */
  constructor(
    bus: Pick<Bus, "tryConsume">,
    dailyBytes: number,
    localLimiter: Pick<KeyedRateLimiter, "tryConsume"> = new KeyedRateLimiter(),
  ) {
    this.#bus = bus;
    this.#localLimiter = localLimiter;
    this.#rateLimit = dailyBytes > 0 ? { burst: dailyBytes, periodMs: DAY_MS } : undefined;
  }

  /**
   * Has a message of so many bytes stored, in the order of the calls for a session; it is counted unless it
   * is a repeat, or is not stored. If the account has stored too much, only a repeat is accepted (`append` is
   * told so); for any other message it rejects with a {@link RequestError}.
   */
  store(
    session: QuotaHolder,
    bytes: number,
    append: (isDuplicate: boolean) => Promise<Appended | Rejection>,
  ): Promise<Appended | Rejection> {
    if (!this.#rateLimit) return append(false);
    const reservation = this.#reservationOf(session);
    const run = async () => {
      let isCharged = false;
      try {
        const result = await append(false);
        isCharged = !("refused" in result) && !result.duplicate;
        return result;
      } finally {
        if (!isCharged) reservation.bytes += bytes;
      }
    };
    if (reservation.waitingCount === 0 && reservation.bytes >= bytes) {
      reservation.bytes -= bytes;
      return run();
    }
    return this.#enqueue(session, reservation, bytes, run, () => append(true));
  }

  /** Behind those of the session that wait already: none overtakes another. */
  async #enqueue(
    session: QuotaHolder,
    reservation: Reservation,
    bytes: number,
    run: () => Promise<Appended | Rejection>,
    appendDuplicate: () => Promise<Appended | Rejection>,
  ): Promise<Appended | Rejection> {
    reservation.waitingCount++;
    const started = reservation.lastWaiting.then(async () => {
      try {
        await this.#reserve(session, reservation, bytes);
        return { result: run() }; // begun, and not waited for
      } finally {
        reservation.waitingCount--;
      }
    });
    reservation.lastWaiting = started.catch(() => {});
    let start;
    try {
      start = await started;
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      const result = await appendDuplicate();
      if ("refused" in result && result.refused === "over_quota") throw error;
      return result;
    }
    return await start.result;
  }

  async #reserve({ user }: QuotaHolder, reservation: Reservation, bytes: number): Promise<void> {
    const missing = Math.max(0, bytes - reservation.bytes);
    let wait = 0;
    if (missing > 0) {
      const bucket = `stored:${user}`;
      let extra = reservation.nextBytes;
      wait = await this.#tryConsume(bucket, missing + extra);
      if (wait > 0 && extra > 0) {
        extra = 0;
        wait = await this.#tryConsume(bucket, missing);
      }
      reservation.nextBytes = wait > 0
        ? 0
        : Math.min(Math.max(2 * extra, FIRST_RESERVATION_BYTES), MAX_RESERVATION_BYTES);
      if (wait === 0) reservation.bytes += missing + extra;
    }
    if (wait > 0) {
      throw new RequestError(
        Errno.RATE_LIMITED,
        "your account has stored as much as it may in a day",
        Math.min(wait, MAX_RETRY_AFTER_MS),
      );
    }
    reservation.bytes -= bytes;
  }

  async #tryConsume(bucket: string, bytes: number): Promise<number> {
    try {
      return await this.#bus.tryConsume(bucket, this.#rateLimit!, bytes);
    } catch (error) {
      if (!(error instanceof BusUnavailableError)) throw error;
      return this.#localLimiter.tryConsume(bucket, this.#rateLimit!, bytes);
    }
  }

  #reservationOf(session: QuotaHolder): Reservation {
    let reservation = this.#reservations.get(session);
    if (!reservation) {
      reservation = {
        bytes: 0,
        nextBytes: FIRST_RESERVATION_BYTES,
        waitingCount: 0,
        lastWaiting: Promise.resolve(),
      };
      this.#reservations.set(session, reservation);
    }
    return reservation;
  }
}
