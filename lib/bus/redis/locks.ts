/**
 * The locks on logins: within the node the first to ask is the first to have one, and among nodes the one
 * that asks when it is free. A lock is a key that expires, so that it outlives its holder's crash by no more
 * than a moment.
 */
import type { Redis } from "ioredis";
import { BusUnavailable } from "../bus.ts";
import { KeyedLock } from "../keyed_mutex.ts";
import type { Names } from "./names.ts";
import { pause } from "./pause.ts";
import { randomId } from "./payload.ts";

/** Milliseconds after which a lock that wasn't given back is free: far more than a login needs. */
const LEASE = 5_000;

/**
 * Milliseconds that a lock is waited for: as long as some holders that crashed one after another can keep it.
 */
const WAIT_AT_MOST = 15_000;

/**
 * Milliseconds between two tries, at least and at most: at random, so that nodes that wait don't keep in
 * step.
 */
const TRY_EVERY = [10, 50] as const;

/**
 * Takes a lock unless a node has it. A node's lock expires within the lease: what another program has written
 * would lock the account for good, or for as long as it likes. PTTL gives -2 of no key, and -1 of one that
 * does not expire.
 */
const TAKE = `
local left = redis.call("PTTL", KEYS[1])
if left >= 0 and left <= tonumber(ARGV[2]) then return 0 end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return left == -2 and 1 or 2`;

/**
 * What {@link TAKE} gives if another node has the lock, and if there was a key that no node has written; else
 * 1.
 */
const [TAKEN, FOREIGN] = [0, 2];

/** Gives back a lock, but not one that has expired and is another's now. */
const RELEASE = `if redis.call("GET", KEYS[1]) == ARGV[1] then redis.call("DEL", KEYS[1]) end`;

/** Sends a command to the server that has a key. */
export type Send = <T>(key: string, send: (redis: Redis) => Promise<T>) => Promise<T>;

/** A node's locks. */
export class Locks {
  readonly #send: Send;
  readonly #names: Names;
  readonly #signal: AbortSignal;
  readonly #foundForeign: (key: string) => void;
  readonly #turns = new KeyedLock();
  readonly #held = new Map<string, string>(); // keys by tokens
  readonly #waiting = new Set<Promise<unknown>>();

  /**
   * `send` rejects with {@link BusUnavailable} while the bus is down. `signal`: it is about to be closed.
   * `foundForeign` is told of a key in place of a lock's that no node has written, and that was replaced.
   */
  constructor(send: Send, names: Names, signal: AbortSignal, foundForeign: (key: string) => void) {
    this.#send = send;
    this.#names = names;
    this.#signal = signal;
    this.#foundForeign = foundForeign;
  }

  /** See `Bus.lock`. */
  take(user: number): Promise<() => Promise<void>> {
    const taken = this.#take(user);
    const done = taken.then(() => {}, () => {}).then(() => void this.#waiting.delete(done));
    this.#waiting.add(done);
    return taken;
  }

  /** Resolves when no caller waits for a lock. */
  async settled(): Promise<void> {
    await Promise.all(this.#waiting);
  }

  /**
   * The bus is down: no caller has to wait any more. What is held may be lost, and is still given back if
   * not.
   */
  turnAway(why: BusUnavailable): void {
    this.#turns.turnAway(this, why);
  }

  /** Gives back what is held, and rejects what is waited for. Call it after giving the signal. */
  close(why: BusUnavailable): void {
    this.turnAway(why);
    for (const token of [...this.#held.keys()]) this.#giveBack(token);
  }

  async #take(user: number): Promise<() => Promise<void>> {
    const deadline = performance.now() + WAIT_AT_MOST;
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(tooLate(user)), WAIT_AT_MOST);
    const turn = this.#turns.take(user, this);
    try {
      const leave = await Promise.race([turn, late.promise]);
      const token = await this.#acquire(user, deadline);
      return async () => {
        await this.#giveBack(token);
        leave();
      };
    } catch (error) {
      turn.then((leave) => leave(), () => {}); // also if it comes only now
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #acquire(user: number, deadline: number): Promise<string> {
    const [key, token] = [this.#names.lock(user), randomId()];
    const [least, most] = TRY_EVERY;
    this.#held.set(token, key); // before it is, so that closing gives back also what is under way
    try {
      while (!(await this.#try(key, token))) {
        if (performance.now() > deadline) throw tooLate(user);
        await pause(least + Math.random() * (most - least), this.#signal);
        if (this.#signal.aborted) break;
      }
      if (this.#signal.aborted) throw new BusUnavailable("the bus is closed");
      return token;
    } catch (error) {
      this.#held.delete(token);
      throw error;
    }
  }

  /** Whether the lock is this node's now. */
  async #try(key: string, token: string): Promise<boolean> {
    const found = await this.#send(key, (redis) => redis.eval(TAKE, 1, key, token, LEASE));
    if (found === FOREIGN) this.#foundForeign(key);
    return found !== TAKEN;
  }

  async #giveBack(token: string): Promise<void> {
    const key = this.#held.get(token);
    if (key === undefined) return;
    this.#held.delete(token);
    // Where that fails, the lock expires.
    await this.#send(key, (redis) => redis.eval(RELEASE, 1, key, token)).catch(() => {});
  }
}

function tooLate(user: number): BusUnavailable {
  return new BusUnavailable(`user ${user} was locked for ${WAIT_AT_MOST} ms`);
}
