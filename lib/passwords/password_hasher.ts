/**
 * Hashes and verifies passwords. New hashes are Argon2id. A bounded number is in progress at once, in threads
 * of the runtime; further requests wait in a {@link FairQueue}.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { PLAINTEXT_PREFIX } from "../store/store.ts";
import { FairQueue, type Requester } from "./fair_queue.ts";
import {
  type Argon2idCost,
  deriveKey,
  formatHash,
  hasCost,
  type KeyRequest,
  missingWork,
  parseHash,
  type ScryptCost,
  workOf,
} from "./stored_hash.ts";

export type { Requester, Standing } from "./fair_queue.ts";

/** The error when the queue of passwords to hash is full. */
export class OverloadedError extends Error {
  override readonly name: string = "OverloadedError";

  constructor(
    /** Milliseconds after which the client should retry. */
    readonly retryAfter: number,
  ) {
    super("too many logins at once");
  }
}

/**
 * The error when a client has disconnected, or ended its sending, while its password was queued behind
 * others.
 */
export class AbandonedError extends OverloadedError {
  override readonly name = "AbandonedError";
}

/**
 * The most milliseconds after which a client should retry. The queue is fair, and a rejected address has the
 * most items. So the length of the whole queue does not tell when the address has room again.
 */
export const MAX_RETRY_AFTER_MS = 5_000;

/** The requester of the server's own hashes. */
const SERVER_REQUESTER: Requester = { network: "", address: "", standing: "new" };

/** A request that waits for a place among the hashes in progress. */
interface Waiter {
  readonly requester: Requester;
  readonly resolve: () => void;
  readonly reject: (error: OverloadedError) => void;
}

/** Bytes of a salt. NIST SP 800-132 asks for at least 128 bits. */
const SALT_BYTES = 16;
/** Bytes of a key. */
const KEY_BYTES = 32;
/**
 * The pause of a place after a hash, in multiples of the time of the hash. A right password causes no pause.
 * With the pause a flood of guesses uses the cores for half of the time, and does not delay users with the
 * right password.
 */
const PAUSE_RATIO = 1;
const MIN_TIMER_MS = 1; // the resolution of timers

/**
 * The most hashes in progress on a node: some 100 logins a second, with 76 MiB at the default cost. Users who
 * reconnect have tokens.
 */
const MAX_CONCURRENT_HASHES = 4;

/**
 * Returns the number of hashes in progress on each of `nodes` nodes: one per core. With one fewer, two cores
 * made 23 to 28 logins a second in place of 42. A rush of logins by password delays messages by more
 * (docs/PERFORMANCE.md), but is rare.
 */
export function hashConcurrency(nodes: number): number {
  return Math.max(1, Math.min(Math.floor(navigator.hardwareConcurrency / nodes), MAX_CONCURRENT_HASHES));
}

/** Hashes and verifies passwords. */
export class PasswordHasher implements Disposable {
  readonly #cost: Argon2idCost;
  readonly #maxConcurrent: number;
  readonly #queue: FairQueue<Waiter>;
  readonly #derive: typeof deriveKey;
  readonly #pauseTimers = new Set<ReturnType<typeof setTimeout>>();
  #free: number;
  #lastHashMs = 100; // the time of the last hash and the pause after it
  /** The greatest cost of the scrypt hashes that were verified so far; undefined without one. */
  #scryptCost: ScryptCost | undefined;

  /** `cost` is that of new hashes. `derive` derives a key in another thread. */
  constructor(cost: Argon2idCost, maxConcurrent: number, maxQueued: number, derive = deriveKey) {
    this.#cost = cost;
    this.#maxConcurrent = this.#free = maxConcurrent;
    this.#queue = new FairQueue(maxQueued);
    this.#derive = derive;
  }

  /** Derives a key. Rejects if the runtime cannot: a server should then fail at its start. */
  async start(): Promise<void> {
    await this.#derive({ password: "", salt: randomBytes(SALT_BYTES), length: KEY_BYTES, cost: this.#cost });
  }

  /** Returns the hash of a new password. Throws {@link OverloadedError}. */
  async hash(password: string, requester = SERVER_REQUESTER): Promise<string> {
    const request = { password, salt: randomBytes(SALT_BYTES), length: KEY_BYTES, cost: this.#cost };
    const key = await this.#run(requester, () => this.#derive(request), () => false);
    return formatHash(this.#cost, request.salt, key);
  }

  /**
   * Returns whether the password matches the hash. `needsRehash` is set if the hash has another method or cost
   * than new ones, or is plain text. Without a hash, for an unknown user, the result is invalid. All wrong
   * passwords take the same work. Throws {@link OverloadedError}.
   */
  async verify(
    password: string,
    phc: string | undefined,
    requester = SERVER_REQUESTER,
  ): Promise<{ valid: boolean; needsRehash: boolean }> {
    const stored = phc === undefined ? undefined : parseHash(phc);
    const { cost, salt, key } = stored ?? { cost: this.#cost, salt: randomBytes(SALT_BYTES), key: undefined };
    if (cost.method === "scrypt") this.#noteScrypt(cost);
    const request = { password, salt, length: key?.length ?? KEY_BYTES, cost };
    const isValid = (derived: Uint8Array) => key ? timingSafeEqual(derived, key) : isPlaintext(phc, password);
    const valid = await this.#run(requester, async () => {
      const valid = isValid(await this.#derive(request));
      if (!valid) await this.#equalize(request);
      return valid;
    }, (valid) => valid);
    return { valid, needsRehash: phc === undefined || !hasCost(phc, this.#cost) };
  }

  /** Whether requests are queued: background work should then wait. */
  get hasQueued(): boolean {
    return this.#queue.size > 0;
  }

  /** Ends its pauses. Requests that are queued are never settled: their connections have ended. */
  [Symbol.dispose](): void {
    for (const timer of this.#pauseTimers) clearTimeout(timer);
  }

  #noteScrypt(cost: ScryptCost): void {
    if (!this.#scryptCost || workOf(cost) > workOf(this.#scryptCost)) this.#scryptCost = cost;
  }

  /**
   * After a wrong password, does the rest of the work that every wrong password takes. The reply's delay would
   * otherwise tell whether the user exists, and has a hash of a smaller cost. Once a hash of scrypt has been
   * verified, the work includes one.
   */
  async #equalize(request: KeyRequest): Promise<void> {
    const all = this.#scryptCost ? [this.#cost, this.#scryptCost] : [this.#cost];
    for (const cost of all.flatMap((wanted) => missingWork(request.cost, wanted))) {
      await this.#derive({ ...request, cost });
    }
  }

  /** Hashes when there is a free place. `isKnown` tells whether the result proves the password to be right. */
  async #run<T>(requester: Requester, hash: () => Promise<T>, isKnown: (result: T) => boolean): Promise<T> {
    await this.#acquire(requester);
    this.#queue.charge(requester);
    const startedAt = performance.now();
    let pauseRatio = PAUSE_RATIO;
    try {
      const result = await hash();
      if (isKnown(result)) {
        this.#queue.refund(requester);
        pauseRatio = 0;
      }
      return result;
    } finally {
      const hashMs = performance.now() - startedAt;
      const pauseMs = hashMs * pauseRatio;
      this.#lastHashMs = hashMs + pauseMs;
      if (pauseMs < MIN_TIMER_MS) this.#release();
      else this.#pause(pauseMs);
    }
  }

  #pause(ms: number): void {
    const timer = setTimeout(() => {
      this.#pauseTimers.delete(timer);
      this.#release();
    }, ms);
    this.#pauseTimers.add(timer);
  }

  /** Gives the place to the next request. */
  #release(): void {
    const next = this.#queue.next();
    if (next) next.resolve();
    else this.#free++;
  }

  /** Ends a pause, whose place the caller gets: a known user need not wait for pauses. */
  #resumePaused(): boolean {
    for (const timer of this.#pauseTimers) {
      clearTimeout(timer);
      return this.#pauseTimers.delete(timer);
    }
    return false;
  }

  /** Takes a place, or queues the request until there is one. */
  #acquire(requester: Requester): void | Promise<void> {
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    if (requester.standing === "known" && this.#resumePaused()) return;
    if (requester.signal?.aborted && this.hasQueued) throw new AbandonedError(this.#retryAfterMs);
    return new Promise((resolve, reject) => this.#enqueue(requester, resolve, reject));
  }

  #enqueue(requester: Requester, resolve: () => void, reject: (error: OverloadedError) => void): void {
    const { signal } = requester;
    const onAbort = () => {
      // a client that has only ended its sending gets its reply if no other client waits
      const isOnlyWaiter = this.#queue.size === 1;
      if (!isOnlyWaiter && this.#queue.delete(waiter)) reject(new AbandonedError(this.#retryAfterMs));
    };
    const waiter: Waiter = {
      requester,
      resolve: () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      },
      reject: (error) => {
        signal?.removeEventListener("abort", onAbort);
        reject(error);
      },
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#queue.push(waiter)?.reject(new OverloadedError(this.#retryAfterMs));
  }

  /** Returns the milliseconds that the whole queue takes, within bounds. */
  get #retryAfterMs(): number {
    const all = Math.ceil(this.#queue.size * this.#lastHashMs / this.#maxConcurrent);
    return Math.max(1, Math.min(all, MAX_RETRY_AFTER_MS));
  }
}

/** Returns whether a credential is the password in plain text, in constant time. */
function isPlaintext(credential: string | undefined, password: string): boolean {
  return credential !== undefined && timingSafeEqual(digest(credential), digest(PLAINTEXT_PREFIX + password));
}

/** Returns a digest, with which texts can be compared in constant time. */
function digest(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}
