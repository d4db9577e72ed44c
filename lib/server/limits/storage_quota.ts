/**
 * The storage quota: the bytes that an account may store per day in the whole cluster. All nodes share one
 * bucket per account on the bus. A session reserves bytes in advance, so that most messages need no call of
 * Redis. While the bus is unavailable each node counts by itself, so that an outage does not lift the limit.
 */
import { Buffer } from "node:buffer";
import { KeyedRateLimiter } from "../../bus/gcra.ts";
import { type Bus, BusUnavailableError, type RateLimit } from "../../bus/bus.ts";
import type { Appended, Rejection } from "../../store/store.ts";
import { Errno } from "../../wire/protocol.ts";
import { RequestError } from "../protocol/reply_body.ts";

const DAY_MS = 86_400_000;

/**
 * The approximate bytes of a stored message besides its text: the other columns of the row, and two index
 * entries.
 */
export const ROW_BYTES = 200;

/**
 * Bytes of the first reservation of a session. They are lost when the session ends, so that they should be
 * few.
 */
const FIRST_RESERVATION_BYTES = 4_096;

/** Bytes of the largest reservation; each is twice the last one. It is hundreds of short messages. */
const MAX_RESERVATION_BYTES = 65_536;

/** The most milliseconds in `retry_after`. A retry costs little, and the limit may be raised meanwhile. */
const MAX_RETRY_AFTER_MS = 60_000;

/** The bytes that a session has reserved. */
interface Reservation {
  bytes: number;
  nextBytes: number; // bytes of the next reservation
  waitingCount: number; // messages that wait for the bus
  lastWaiting: Promise<unknown>; // settles when the last of these messages has begun
}

/** A session. Its identity is the key of its reservation. */
interface QuotaHolder {
  readonly user: number;
}

/** Returns the bytes that a message is counted for. */
export function storedBytes(body: string, cid: string): number {
  return ROW_BYTES + Buffer.byteLength(body) + Buffer.byteLength(cid);
}

/** Counts the bytes that accounts store. */
export class StorageQuota {
  readonly #bus: Pick<Bus, "tryConsume">;
  readonly #localLimiter: Pick<KeyedRateLimiter, "tryConsume">;
  readonly #rateLimit: RateLimit | undefined;
  readonly #reservations = new WeakMap<QuotaHolder, Reservation>();

  /** `dailyBytes` is 0 for no limit. `localLimiter` counts while the bus is unavailable. */
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
   * Stores a message of so many bytes by `append`, in the order of the calls for a session. Duplicates, and
   * messages that are not stored, are not counted. If the account is over its quota, `append` is called with
   * `true` and accepts only duplicates. For other messages this method then rejects with a {@link
   * RequestError}.
   */
  store(
    session: QuotaHolder,
    bytes: number,
    append: (mustBeDuplicate: boolean) => Promise<Appended | Rejection>,
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

  /** Stores a message after those of the session that wait for a reservation, in their order. */
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
        return { result: run() }; // started, and not awaited
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
        "storage quota exceeded: the account has stored its daily maximum",
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
