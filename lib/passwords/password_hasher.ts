/**
 * Password hashes: scrypt in PHC string form. The form contains the parameters, so old hashes stay valid when
 * the configured cost is raised. A bounded number of threads hash; further requests wait in a {@link
 * FairQueue}.
 */
import { Buffer } from "node:buffer";
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { PLAINTEXT_PREFIX } from "../store/store.ts";
import { FairQueue, type Requester } from "./fair_queue.ts";
import { type Cost, type HashRequest, HashWorker } from "./hash_worker.ts";
import { missingWork } from "./work.ts";

export type { Requester, Standing } from "./fair_queue.ts";

export type { Cost } from "./hash_worker.ts";

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

/** A request that waits for a thread. */
interface Waiter {
  readonly requester: Requester;
  readonly resolve: (worker: HashWorker) => void;
  readonly reject: (error: OverloadedError) => void;
}

/** Bytes of a salt. NIST SP 800-132 asks for at least 128 bits. */
const SALT_BYTES = 16;
/** Bytes of a hash. */
const HASH_BYTES = 32;
/**
 * The pause of a thread after a hash, in multiples of the time of the hash. A right password causes no pause.
 * A low priority is not enough, because Linux lets a thread finish its time slice of some milliseconds. With
 * the pause a flood of guesses uses the cores for half of the time, and does not delay users with the right
 * password.
 */
const PAUSE_RATIO = 1;
const MIN_TIMER_MS = 1; // the resolution of timers
/** The request with which a thread proves that it runs. It is next to no work. */
const PROBE = {
  password: "",
  salt: new Uint8Array(SALT_BYTES),
  length: HASH_BYTES,
  cost: { ln: 1, r: 1, p: 1 },
};

/**
 * Returns the number of hash threads of each of `nodes` nodes: all cores but one, so that a flood leaves one.
 */
export function hashWorkerCount(nodes: number): number {
  return Math.max(1, Math.floor((navigator.hardwareConcurrency - 1) / nodes));
}

/** The pattern of the server's own hashes. */
export const PHC_PATTERN = /^\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;

/** Hashes and verifies passwords. Its threads start when they are first needed, or at {@link start}. */
export class PasswordHasher implements Disposable {
  readonly #cost: Cost;
  readonly #maxWorkers: number;
  readonly #queue: FairQueue<Waiter>;
  readonly #createWorker: () => HashWorker;
  readonly #workers = new Set<HashWorker>();
  readonly #idleWorkers: HashWorker[] = [];
  readonly #pauseTimers = new Map<HashWorker, ReturnType<typeof setTimeout>>();
  #lastHashMs = 100; // the time of the last hash and the pause after it

  /** `createWorker` starts a thread. */
  constructor(cost: Cost, maxWorkers: number, maxQueued: number, createWorker = () => new HashWorker()) {
    this.#createWorker = createWorker;
    this.#cost = cost;
    this.#maxWorkers = maxWorkers;
    this.#queue = new FairQueue(maxQueued);
  }

  /**
   * Starts all threads. Resolves when each of them has hashed something, and rejects if one fails. Later, a
   * process without free descriptors could not start them.
   */
  async start(): Promise<void> {
    await Promise.all(Array.from({ length: this.#maxWorkers - this.#workers.size }, async () => {
      const worker = this.#addWorker();
      await worker.derive(PROBE);
      this.#release(worker);
    }));
  }

  /** Returns the hash of a new password. Throws {@link OverloadedError}. */
  async hash(password: string, requester = SERVER_REQUESTER): Promise<string> {
    const salt = randomBytes(SALT_BYTES);
    const { ln, r, p } = this.#cost;
    const hash = await this.#derive(requester, password, salt, HASH_BYTES, this.#cost, () => false);
    return `$scrypt$ln=${ln},r=${r},p=${p}$${base64(salt)}$${base64(hash)}`;
  }

  /**
   * Returns whether the password matches the hash. `needsRehash` is set if the hash has another cost than the
   * configured one, or is plain text. Without a hash, for an unknown user, the result is invalid, after the
   * same work. A hash of a smaller cost takes the same work, too, if the password is wrong. Throws {@link
   * OverloadedError}.
   */
  async verify(
    password: string,
    phc: string | undefined,
    requester = SERVER_REQUESTER,
  ): Promise<{ valid: boolean; needsRehash: boolean }> {
    const match = phc === undefined ? null : PHC_PATTERN.exec(phc);
    if (!match) {
      const valid = phc !== undefined && timingSafeEqual(digest(phc), digest(PLAINTEXT_PREFIX + password));
      await this.#derive(requester, password, randomBytes(SALT_BYTES), HASH_BYTES, this.#cost, () => valid);
      return { valid, needsRehash: true };
    }
    const [ln, r, p] = match.slice(1, 4).map(Number) as [number, number, number];
    const [salt, hash] = match.slice(4, 6).map((text) => Buffer.from(text, "base64")) as [Buffer, Buffer];
    let valid = false;
    await this.#derive(
      requester,
      password,
      salt,
      hash.length,
      { ln, r, p },
      (key) => valid = timingSafeEqual(key, hash),
    );
    const needsRehash = ln !== this.#cost.ln || r !== this.#cost.r || p !== this.#cost.p;
    return { valid, needsRehash };
  }

  /** Whether requests are queued: background work should then wait. */
  get hasQueued(): boolean {
    return this.#queue.size > 0;
  }

  /** Terminates the threads. Requests in progress are never settled: their connections have ended. */
  [Symbol.dispose](): void {
    for (const timer of this.#pauseTimers.values()) clearTimeout(timer);
    for (const worker of this.#workers) worker.close();
  }

  /** Derives a key. `isValid` tells whether the key proves the password to be right. */
  async #derive(
    requester: Requester,
    password: string,
    salt: Uint8Array,
    length: number,
    cost: Cost,
    isValid: (key: Uint8Array) => boolean,
  ): Promise<Uint8Array> {
    const worker = await this.#acquire(requester);
    this.#queue.charge(requester);
    const startedAt = performance.now();
    let isKnown = false;
    try {
      const key = await worker.derive({ password, salt, length, cost });
      isKnown = isValid(key);
      if (isKnown) this.#queue.refund(requester);
      else await this.#compensate(worker, { password, salt, length, cost });
      return key;
    } finally {
      const hashMs = performance.now() - startedAt;
      const pauseMs = isKnown ? 0 : hashMs * PAUSE_RATIO;
      this.#lastHashMs = hashMs + pauseMs;
      if (pauseMs < MIN_TIMER_MS) this.#release(worker);
      else this.#pause(worker, pauseMs);
    }
  }

  /** After a hash of a smaller cost, does the rest of the work of the configured cost. */
  async #compensate(worker: HashWorker, request: HashRequest): Promise<void> {
    for (const cost of missingWork(request.cost, this.#cost)) await worker.derive({ ...request, cost });
  }

  #pause(worker: HashWorker, ms: number): void {
    const timer = setTimeout(() => {
      this.#pauseTimers.delete(worker);
      this.#release(worker);
    }, ms);
    this.#pauseTimers.set(worker, timer);
  }

  /** Gives the thread, or its replacement, to the next request. */
  #release(worker: HashWorker): void {
    const free = this.#replaceFailed(worker);
    const next = this.#queue.next();
    if (next) next.resolve(free);
    else this.#idleWorkers.push(free);
  }

  #addWorker(): HashWorker {
    const worker = this.#createWorker();
    this.#workers.add(worker);
    return worker;
  }

  #replaceFailed(worker: HashWorker): HashWorker {
    if (!worker.hasFailed) return worker;
    worker.close();
    this.#workers.delete(worker);
    return this.#addWorker();
  }

  /** Returns a thread whose pause it ends: a known user need not wait for pauses. */
  #resumePaused(): HashWorker | undefined {
    for (const [worker, timer] of this.#pauseTimers) {
      clearTimeout(timer);
      this.#pauseTimers.delete(worker);
      return this.#replaceFailed(worker);
    }
    return undefined;
  }

  /** Returns an idle thread, or queues the request until there is one. */
  #acquire(requester: Requester): HashWorker | Promise<HashWorker> {
    const idle = this.#idleWorkers.pop();
    if (idle) return idle;
    if (this.#workers.size < this.#maxWorkers) return this.#addWorker();
    const resumed = requester.standing === "known" ? this.#resumePaused() : undefined;
    if (resumed) return resumed;
    if (requester.signal?.aborted && this.hasQueued) throw new AbandonedError(this.#retryAfterMs);
    return new Promise((resolve, reject) => this.#enqueue(requester, resolve, reject));
  }

  #enqueue(
    requester: Requester,
    resolve: (worker: HashWorker) => void,
    reject: (error: OverloadedError) => void,
  ): void {
    const { signal } = requester;
    const onAbort = () => {
      // a client that has only ended its sending gets its reply if no other client waits
      const isOnlyWaiter = this.#queue.size === 1;
      if (!isOnlyWaiter && this.#queue.delete(waiter)) reject(new AbandonedError(this.#retryAfterMs));
    };
    const waiter: Waiter = {
      requester,
      resolve: (worker) => {
        signal?.removeEventListener("abort", onAbort);
        resolve(worker);
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
    const all = Math.ceil(this.#queue.size * this.#lastHashMs / this.#maxWorkers);
    return Math.max(1, Math.min(all, MAX_RETRY_AFTER_MS));
  }
}

/** Returns a digest, with which texts can be compared in constant time. */
function digest(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64").replace(/=+$/, "");
}
