/**
 * Gathers the DELIVERED of all sessions on their way to the store. A cursor that is lost on the way costs a repeat,
 * which clients hide, so these need not be written one by one.
 */
import { describe, type Log } from "../log.ts";
import type { Peer, Store } from "../store/store.ts";

const DELAY = 100; // ms that cursors may wait for company; a crash repeats at most so much
const MOST = 1_000; // cursors waiting; then they are written without delay

/** Cursors that have moved and are not stored yet. */
export class Cursors {
  readonly #store: Store;
  readonly #log: Log;
  #moved = new Map<number, Map<Peer, number>>();
  #count = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #writing: Promise<void> | undefined;
  #written = new Map<number, unknown>(); // the users in the write under way

  constructor(store: Store, log: Log) {
    this.#store = store;
    this.#log = log;
  }

  /** Notes that a user has a conversation up to `seq`. */
  move(user: number, peer: Peer, seq: number): void {
    let talks = this.#moved.get(user);
    if (!talks) this.#moved.set(user, talks = new Map());
    const before = talks.get(peer);
    if (before !== undefined && before >= seq) return;
    talks.set(peer, seq);
    if (before === undefined) this.#count++;
    if (this.#count >= MOST) this.#start();
    else this.#timer ??= setTimeout(() => this.#start(), DELAY);
  }

  /** Resolves when all that is known of the user's cursors has been written, or could not be: after two writes at most. */
  async settled(user: number): Promise<void> {
    if (this.#written.has(user)) await this.#writing;
    if (!this.#moved.has(user)) return;
    await this.#writing;
    if (this.#moved.has(user)) await this.#start();
  }

  /** Writes what waits. Never rejects. */
  async flush(): Promise<void> {
    while (this.#count > 0 || this.#writing) await this.#start();
  }

  #start(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
      this.#written = new Map();
      if (this.#count >= MOST) void this.#start();
      else if (this.#count > 0) this.#timer ??= setTimeout(() => this.#start(), DELAY);
    });
    return this.#writing;
  }

  async #write(): Promise<void> {
    const moved = this.#written = this.#moved;
    this.#moved = new Map();
    this.#count = 0;
    const list = [...moved].flatMap(([user, talks]) =>
      [...talks].map(([peer, seq]) => ({ user, peer, seq }))
    );
    try {
      await this.#store.delivered(list);
    } catch (error) {
      this.#log.warn("cursors not stored; what they covered will be sent again", {
        count: list.length,
        why: describe(error),
      });
    }
  }
}
