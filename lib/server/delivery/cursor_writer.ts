/**
 * Gathers the DELIVERED of all sessions on their way to the store. A cursor that is lost on the way costs a
 * repeat, which clients hide, so these need not be written one by one.
 */
import { describe, type Log } from "../../log.ts";
import type { Peer, Store } from "../../store/store.ts";

// ms that cursors may wait: for company, and for the same to move on, which then costs nothing. Of those who
// receive all the time each is written twice a second. A crash repeats at most so much.
const DELAY = 500;
const AT_ONCE = 1_000; // cursors in one write, which others' commits wait for
const MANY = 10_000; // when so many wait, they are written without delay
const RETRY = 1_000; // ms until they are tried again when the store refused them
const MOST = 100_000; // cursors waiting for a store that is away; more are forgotten, which costs repeats

/** Cursors that have moved and are not stored yet. */
export class Cursors {
  readonly #store: Store;
  readonly #log: Log;
  readonly #most: number;
  #moved = new Map<number, Map<Peer, number>>();
  #count = 0;
  #history = 0; // counts calls of clear
  #failing = false; // the last write was refused
  #timer: ReturnType<typeof setTimeout> | undefined;
  #writing: Promise<void> | undefined;
  #written: ReadonlyMap<number, unknown> = new Map(); // the users in the write under way

  /** At most `most` cursors wait for a store that is away. */
  constructor(store: Store, log: Log, most = MOST) {
    this.#store = store;
    this.#log = log;
    this.#most = most;
  }

  /** Notes that a user has a conversation up to `seq`. */
  move(user: number, peer: Peer, seq: number): void {
    if (!this.#note(user, peer, seq)) return;
    if (this.#count >= MANY && !this.#failing) void this.#start();
    else this.#later();
  }

  /**
   * Resolves when all that is known of the user's cursors has been written, or could not be: after two writes
   * at most.
   */
  async settled(user: number): Promise<void> {
    if (this.#written.has(user) || this.#moved.has(user)) await this.#writing;
    // The next write may have been begun meanwhile, for others.
    if (this.#written.has(user)) await this.#writing;
    else if (this.#moved.has(user)) await this.#start();
  }

  /** Forgets all: the store's history is another one. What is being written is not tried again. */
  clear(): void {
    this.#moved = new Map();
    this.#count = 0;
    this.#history++;
  }

  /** Writes what waits, as far as the store lets it, and tries no further. Never rejects. */
  async flush(): Promise<void> {
    do await this.#start(); while (!this.#failing && (this.#count > 0 || this.#writing));
    clearTimeout(this.#timer);
  }

  /** Whether that is news. */
  #note(user: number, peer: Peer, seq: number): boolean {
    let talks = this.#moved.get(user);
    const before = talks?.get(peer);
    if (before !== undefined ? before >= seq : this.#count >= this.#most) return false;
    if (!talks) this.#moved.set(user, talks = new Map());
    talks.set(peer, seq);
    if (before === undefined) this.#count++;
    return true;
  }

  #later(): void {
    this.#timer ??= setTimeout(() => this.#start(), this.#failing ? RETRY : DELAY);
  }

  #start(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
      this.#written = new Map();
      if (this.#count >= MANY && !this.#failing) void this.#start();
      else if (this.#count > 0) this.#later();
    });
    return this.#writing;
  }

  async #write(): Promise<void> {
    const moved = this.#written = this.#moved;
    const history = this.#history;
    this.#moved = new Map();
    this.#count = 0;
    const list = [...moved].flatMap(([user, talks]) =>
      [...talks].map(([peer, seq]) => ({ user, peer, seq }))
    );
    for (let at = 0; at < list.length && history === this.#history; at += AT_ONCE) {
      try {
        await this.#store.delivered(list.slice(at, at + AT_ONCE));
        this.#failing = false;
      } catch (error) {
        const wasFailing = this.#failing;
        this.#failing = true;
        if (history !== this.#history) return;
        const left = list.slice(at);
        for (const { user, peer, seq } of left) this.#note(user, peer, seq);
        if (!wasFailing) {
          this.#log.warn("cursors not stored yet", { count: left.length, why: describe(error) });
        }
        return;
      }
    }
  }
}
