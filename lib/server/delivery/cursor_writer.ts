/**
 * Gathers the DELIVERED of all sessions on their way to the store. A cursor that is lost on the way costs a
 * repeat, which clients hide, so these need not be written one by one.
 */
import { describeError, type Log } from "../../log.ts";
import type { Peer, Store } from "../../store/store.ts";

// ms that cursors may wait: for company, and for the same to move on, which then costs nothing. Of those who
// receive all the time each is written twice a second. A crash repeats at most so much.
const FLUSH_INTERVAL_MS = 500;
const BATCH_SIZE = 1_000; // cursors in one write, which others' commits wait for
const FLUSH_THRESHOLD = 10_000; // when so many wait, they are written without delay
const RETRY_MS = 1_000; // ms until they are tried again when the store refused them
const MAX_PENDING = 100_000; // cursors waiting for a store that is away; more are forgotten, which costs repeats

/** Cursors that have moved and are not stored yet. */
export class CursorWriter {
  readonly #store: Store;
  readonly #log: Log;
  readonly #maxPending: number;
  #pending = new Map<number, Map<Peer, number>>();
  #pendingCount = 0;
  #generation = 0; // counts calls of clear
  #failing = false; // the last write was refused
  #timer: ReturnType<typeof setTimeout> | undefined;
  #writing: Promise<void> | undefined;
  #inFlight: ReadonlyMap<number, unknown> = new Map(); // the users in the write under way

  /** At most `most` cursors wait for a store that is away. */
  constructor(store: Store, log: Log, maxPending = MAX_PENDING) {
    this.#store = store;
    this.#log = log;
    this.#maxPending = maxPending;
  }

  /** Notes that a user has a conversation up to `seq`. */
  advance(user: number, peer: Peer, seq: number): void {
    if (!this.#record(user, peer, seq)) return;
    if (this.#pendingCount >= FLUSH_THRESHOLD && !this.#failing) void this.#startWrite();
    else this.#scheduleFlush();
  }

  /**
   * Resolves when all that is known of the user's cursors has been written, or could not be: after two writes
   * at most.
   */
  async flushUser(user: number): Promise<void> {
    if (this.#inFlight.has(user) || this.#pending.has(user)) await this.#writing;
    // The next write may have been begun meanwhile, for others.
    if (this.#inFlight.has(user)) await this.#writing;
    else if (this.#pending.has(user)) await this.#startWrite();
  }

  /** Forgets all: the store's history is another one. What is being written is not tried again. */
  clear(): void {
    this.#pending = new Map();
    this.#pendingCount = 0;
    this.#generation++;
  }

  /** Writes what waits, as far as the store lets it, and tries no further. Never rejects. */
  async flush(): Promise<void> {
    do await this.#startWrite(); while (!this.#failing && (this.#pendingCount > 0 || this.#writing));
    clearTimeout(this.#timer);
  }

  /** Whether that is news. */
  #record(user: number, peer: Peer, seq: number): boolean {
    let cursors = this.#pending.get(user);
    const before = cursors?.get(peer);
    if (before !== undefined ? before >= seq : this.#pendingCount >= this.#maxPending) return false;
    if (!cursors) this.#pending.set(user, cursors = new Map());
    cursors.set(peer, seq);
    if (before === undefined) this.#pendingCount++;
    return true;
  }

  #scheduleFlush(): void {
    this.#timer ??= setTimeout(() => this.#startWrite(), this.#failing ? RETRY_MS : FLUSH_INTERVAL_MS);
  }

  #startWrite(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
      this.#inFlight = new Map();
      if (this.#pendingCount >= FLUSH_THRESHOLD && !this.#failing) void this.#startWrite();
      else if (this.#pendingCount > 0) this.#scheduleFlush();
    });
    return this.#writing;
  }

  async #write(): Promise<void> {
    const batch = this.#inFlight = this.#pending;
    const generation = this.#generation;
    this.#pending = new Map();
    this.#pendingCount = 0;
    const list = [...batch].flatMap(([user, cursors]) =>
      [...cursors].map(([peer, seq]) => ({ user, peer, seq }))
    );
    for (let at = 0; at < list.length && generation === this.#generation; at += BATCH_SIZE) {
      try {
        await this.#store.advanceCursors(list.slice(at, at + BATCH_SIZE));
        this.#failing = false;
      } catch (error) {
        const wasFailing = this.#failing;
        this.#failing = true;
        if (generation !== this.#generation) return;
        const left = list.slice(at);
        for (const { user, peer, seq } of left) this.#record(user, peer, seq);
        if (!wasFailing) {
          this.#log.warn("cursors not stored yet", { count: left.length, why: describeError(error) });
        }
        return;
      }
    }
  }
}
