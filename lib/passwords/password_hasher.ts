/**
 * Password hashes: scrypt, in PHC string form with its parameters inside, so that they can be raised and old
 * hashes still be checked. Hashing runs in threads of its own, a bounded number of them; the rest queue up,
 * see {@link FairQueue}.
 */
import { Buffer } from "node:buffer";
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { PLAINTEXT_PREFIX } from "../store/store.ts";
import { FairQueue, type Requester } from "./fair_queue.ts";
import { type Cost, type HashRequest, HashWorker } from "./hash_worker.ts";
import { missingWork } from "./work.ts";

export type { Requester, Standing } from "./fair_queue.ts";

export type { Cost } from "./hash_worker.ts";

/** Too many passwords wait to be hashed. */
export class OverloadedError extends Error {
  override readonly name: string = "OverloadedError";

  constructor(
    /** When it may be better, in milliseconds from now. */
    readonly retryAfter: number,
  ) {
    super("too many logins at once");
  }
}

/**
 * The client ended its sending, or its connection was lost, before the password's turn came, and others
 * waited as well: it was not hashed.
 */
export class AbandonedError extends OverloadedError {
  override readonly name = "AbandonedError";
}

/**
 * Milliseconds after which a client may come again, at the most. The queue is fair: when an address is told
 * so, it has the most waiting, and the length of the whole queue says nothing about when it has room again.
 */
export const MAX_RETRY_AFTER_MS = 5_000;

/** The server's own work. */
const SERVER_REQUESTER: Requester = { network: "", address: "", standing: "new" };

/** Waits for a thread. */
interface Waiter {
  readonly requester: Requester;
  readonly resolve: (worker: HashWorker) => void;
  readonly reject: (error: OverloadedError) => void;
}

const SALT_BYTES = 16; // bytes; NIST SP 800-132 asks for at least 128 bits
const HASH_BYTES = 32; // bytes
/**
 * For how long a thread rests, in times of what the hash took, if that didn't show a user to be known: to be
 * nice is not enough, as Linux lets a thread finish its slice of some milliseconds before another that waits
 * for the core. So a flood of guesses leaves the cores to the others half of the time, and a rush of people
 * who know their passwords isn't held up.
 */
const PAUSE_RATIO = 1;
const MIN_TIMER_MS = 1; // ms: a timer can't do less
/** What a thread hashes to show that it is there: next to no work. */
const PROBE = {
  password: "",
  salt: new Uint8Array(SALT_BYTES),
  length: HASH_BYTES,
  cost: { ln: 1, r: 1, p: 1 },
};

/**
 * Threads that hash passwords for each of so many nodes: one core less than there are, as a flood of
 * passwords must leave one.
 */
export function hashWorkerCount(nodes: number): number {
  return Math.max(1, Math.floor((navigator.hardwareConcurrency - 1) / nodes));
}

/** The form of the server's own hashes. */
export const PHC_PATTERN = /^\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;

/**
 * Hashes and checks passwords, a bounded number at a time. Its threads begin when they are first needed, or
 * at {@link start}.
 */
export class PasswordHasher implements Disposable {
  readonly #cost: Cost;
  readonly #maxWorkers: number;
  readonly #queue: FairQueue<Waiter>;
  readonly #createWorker: () => HashWorker;
  readonly #workers = new Set<HashWorker>();
  readonly #idleWorkers: HashWorker[] = [];
  readonly #pauseTimers = new Map<HashWorker, ReturnType<typeof setTimeout>>();
  #lastHashMs = 100; // ms that one hash took, with the rest after it

  /** `begin` begins a thread. */
  constructor(cost: Cost, maxWorkers: number, maxQueued: number, createWorker = () => new HashWorker()) {
    this.#createWorker = createWorker;
    this.#cost = cost;
    this.#maxWorkers = maxWorkers;
    this.#queue = new FairQueue(maxQueued);
  }

  /**
   * Begins all threads, and resolves when each has hashed something: a process that has no descriptors left
   * could not begin them. Rejects if one can't do it.
   */
  async start(): Promise<void> {
    await Promise.all(Array.from({ length: this.#maxWorkers - this.#workers.size }, async () => {
      const worker = this.#addWorker();
      await worker.derive(PROBE);
      this.#release(worker);
    }));
  }

  /** The hash of a new password. Throws {@link OverloadedError}. Without a requester the work is the server's own. */
  async hash(password: string, requester = SERVER_REQUESTER): Promise<string> {
    const salt = randomBytes(SALT_BYTES);
    const { ln, r, p } = this.#cost;
    const hash = await this.#derive(requester, password, salt, HASH_BYTES, this.#cost, () => false);
    return `$scrypt$ln=${ln},r=${r},p=${p}$${base64(salt)}$${base64(hash)}`;
  }

  /**
   * Whether the password is the one that was hashed; `stale` if the hash was made with another cost than
   * today's, or it isn't hashed at all yet. Without a hash (there is no such user) the answer is no, and
   * takes as long; so it does if the hash was made with a smaller cost than today's. Throws {@link OverloadedError}.
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

  /** Whether some wait for their turn: what can wait itself should. */
  get hasQueued(): boolean {
    return this.#queue.size > 0;
  }

  /** Ends the threads. What is still being hashed, for connections that have ended, is never answered. */
  [Symbol.dispose](): void {
    for (const timer of this.#pauseTimers.values()) clearTimeout(timer);
    for (const worker of this.#workers) worker.close();
  }

  /** The key; `isRight` is asked whether it shows a user to be known. */
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

  /** After a hash of an earlier, smaller cost: the rest of the work that one of today's is. */
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

  /** The next order is the thread's, or its successor's. */
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

  /** A thread that rests; it need not for a known user. */
  #resumePaused(): HashWorker | undefined {
    for (const [worker, timer] of this.#pauseTimers) {
      clearTimeout(timer);
      this.#pauseTimers.delete(worker);
      return this.#replaceFailed(worker);
    }
    return undefined;
  }

  /** A thread that has nothing else to do, when it is the requester's turn. */
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
      // a client that only ended its sending is answered if no other waits
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

  /** Milliseconds that the whole queue takes, within bounds. */
  get #retryAfterMs(): number {
    const all = Math.ceil(this.#queue.size * this.#lastHashMs / this.#maxWorkers);
    return Math.max(1, Math.min(all, MAX_RETRY_AFTER_MS));
  }
}

/** For comparing texts in a time that tells nothing. */
function digest(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64").replace(/=+$/, "");
}
