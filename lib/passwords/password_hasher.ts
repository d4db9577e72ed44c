/**
 * Password hashes: scrypt, in PHC string form with its parameters inside, so that they can be raised and old
 * hashes still be checked. Hashing runs in threads of its own, a bounded number of them; the rest queue up,
 * see {@link FairQueue}.
 */
import { Buffer } from "node:buffer";
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { PLAIN } from "../store/store.ts";
import { FairQueue, type Requester } from "./fair_queue.ts";
import { type Cost, type HashOrder, HashThread } from "./hash_worker.ts";
import { missingWork } from "./work.ts";

export type { Requester, Standing } from "./fair_queue.ts";

export type { Cost } from "./hash_worker.ts";

/** Too many passwords wait to be hashed. */
export class TooBusy extends Error {
  override readonly name: string = "TooBusy";

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
export class AbandonedError extends TooBusy {
  override readonly name = "AbandonedError";
}

/**
 * Milliseconds after which a client may come again, at the most. The queue is fair: when an address is told
 * so, it has the most waiting, and the length of the whole queue says nothing about when it has room again.
 */
export const MAX_RETRY_AFTER_MS = 5_000;

/** The server's own work. */
const OWN: Requester = { network: "", address: "", standing: "new" };

/** Waits for a thread. */
interface Waiter {
  readonly requester: Requester;
  readonly begin: (thread: HashThread) => void;
  readonly refuse: (error: TooBusy) => void;
}

const SALT = 16; // bytes; NIST SP 800-132 asks for at least 128 bits
const HASH = 32; // bytes
/**
 * For how long a thread rests, in times of what the hash took, if that didn't show a user to be known: to be
 * nice is not enough, as Linux lets a thread finish its slice of some milliseconds before another that waits
 * for the core. So a flood of guesses leaves the cores to the others half of the time, and a rush of people
 * who know their passwords isn't held up.
 */
const REST = 1;
const LEAST_REST = 1; // ms: a timer can't do less
/** What a thread hashes to show that it is there: next to no work. */
const TRIAL = { password: "", salt: new Uint8Array(SALT), length: HASH, cost: { ln: 1, r: 1, p: 1 } };

/**
 * Threads that hash passwords for each of so many nodes: one core less than there are, as a flood of
 * passwords must leave one.
 */
export function hashThreads(nodes: number): number {
  return Math.max(1, Math.floor((navigator.hardwareConcurrency - 1) / nodes));
}

/** The form of the server's own hashes. */
export const PHC = /^\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;

/**
 * Hashes and checks passwords, a bounded number at a time. Its threads begin when they are first needed, or
 * at {@link start}.
 */
export class Passwords implements Disposable {
  readonly #cost: Cost;
  readonly #atOnce: number;
  readonly #queue: FairQueue<Waiter>;
  readonly #begin: () => HashThread;
  readonly #threads = new Set<HashThread>();
  readonly #idle: HashThread[] = [];
  readonly #resting = new Map<HashThread, ReturnType<typeof setTimeout>>();
  #lastTook = 100; // ms that one hash took, with the rest after it

  /** `begin` begins a thread. */
  constructor(cost: Cost, atOnce: number, queueLimit: number, begin = () => new HashThread()) {
    this.#begin = begin;
    this.#cost = cost;
    this.#atOnce = atOnce;
    this.#queue = new FairQueue(queueLimit);
  }

  /**
   * Begins all threads, and resolves when each has hashed something: a process that has no descriptors left
   * could not begin them. Rejects if one can't do it.
   */
  async start(): Promise<void> {
    await Promise.all(Array.from({ length: this.#atOnce - this.#threads.size }, async () => {
      const thread = this.#add();
      await thread.derive(TRIAL);
      this.#free(thread);
    }));
  }

  /** The hash of a new password. Throws {@link TooBusy}. Without a requester the work is the server's own. */
  async hash(password: string, requester = OWN): Promise<string> {
    const salt = randomBytes(SALT);
    const { ln, r, p } = this.#cost;
    const hash = await this.#derive(requester, password, salt, HASH, this.#cost, () => false);
    return `$scrypt$ln=${ln},r=${r},p=${p}$${base64(salt)}$${base64(hash)}`;
  }

  /**
   * Whether the password is the one that was hashed; `stale` if the hash was made with another cost than
   * today's, or it isn't hashed at all yet. Without a hash (there is no such user) the answer is no, and
   * takes as long; so it does if the hash was made with a smaller cost than today's. Throws {@link TooBusy}.
   */
  async verify(
    password: string,
    phc: string | undefined,
    requester = OWN,
  ): Promise<{ right: boolean; stale: boolean }> {
    const match = phc === undefined ? null : PHC.exec(phc);
    if (!match) {
      const right = phc !== undefined && timingSafeEqual(digest(phc), digest(PLAIN + password));
      await this.#derive(requester, password, randomBytes(SALT), HASH, this.#cost, () => right);
      return { right, stale: true };
    }
    const [ln, r, p] = match.slice(1, 4).map(Number) as [number, number, number];
    const [salt, hash] = match.slice(4, 6).map((text) => Buffer.from(text, "base64")) as [Buffer, Buffer];
    let right = false;
    await this.#derive(
      requester,
      password,
      salt,
      hash.length,
      { ln, r, p },
      (key) => right = timingSafeEqual(key, hash),
    );
    const stale = ln !== this.#cost.ln || r !== this.#cost.r || p !== this.#cost.p;
    return { right, stale };
  }

  /** Whether some wait for their turn: what can wait itself should. */
  get isBusy(): boolean {
    return this.#queue.size > 0;
  }

  /** Ends the threads. What is still being hashed, for connections that have ended, is never answered. */
  [Symbol.dispose](): void {
    for (const rest of this.#resting.values()) clearTimeout(rest);
    for (const thread of this.#threads) thread.close();
  }

  /** The key; `isRight` is asked whether it shows a user to be known. */
  async #derive(
    requester: Requester,
    password: string,
    salt: Uint8Array,
    length: number,
    cost: Cost,
    isRight: (key: Uint8Array) => boolean,
  ): Promise<Uint8Array> {
    const thread = await this.#thread(requester);
    this.#queue.charge(requester);
    const began = performance.now();
    let known = false;
    try {
      const key = await thread.derive({ password, salt, length, cost });
      known = isRight(key);
      if (known) this.#queue.payBack(requester);
      else await this.#makeUp(thread, { password, salt, length, cost });
      return key;
    } finally {
      const took = performance.now() - began;
      const rest = known ? 0 : took * REST;
      this.#lastTook = took + rest;
      if (rest < LEAST_REST) this.#free(thread);
      else this.#rest(thread, rest);
    }
  }

  /** After a hash of an earlier, smaller cost: the rest of the work that one of today's is. */
  async #makeUp(thread: HashThread, order: HashOrder): Promise<void> {
    for (const cost of missingWork(order.cost, this.#cost)) await thread.derive({ ...order, cost });
  }

  #rest(thread: HashThread, ms: number): void {
    const rest = setTimeout(() => {
      this.#resting.delete(thread);
      this.#free(thread);
    }, ms);
    this.#resting.set(thread, rest);
  }

  /** The next order is the thread's, or its successor's. */
  #free(thread: HashThread): void {
    const free = this.#alive(thread);
    const next = this.#queue.next();
    if (next) next.begin(free);
    else this.#idle.push(free);
  }

  #add(): HashThread {
    const thread = this.#begin();
    this.#threads.add(thread);
    return thread;
  }

  #alive(thread: HashThread): HashThread {
    if (!thread.isDead) return thread;
    thread.close();
    this.#threads.delete(thread);
    return this.#add();
  }

  /** A thread that rests; it need not for a known user. */
  #wake(): HashThread | undefined {
    for (const [thread, rest] of this.#resting) {
      clearTimeout(rest);
      this.#resting.delete(thread);
      return this.#alive(thread);
    }
    return undefined;
  }

  /** A thread that has nothing else to do, when it is the requester's turn. */
  #thread(requester: Requester): HashThread | Promise<HashThread> {
    const idle = this.#idle.pop();
    if (idle) return idle;
    if (this.#threads.size < this.#atOnce) return this.#add();
    const woken = requester.standing === "known" ? this.#wake() : undefined;
    if (woken) return woken;
    if (requester.signal?.aborted && this.isBusy) throw new AbandonedError(this.#retryAfter);
    return new Promise((resolve, reject) => this.#wait(requester, resolve, reject));
  }

  #wait(
    requester: Requester,
    resolve: (thread: HashThread) => void,
    refuse: (error: TooBusy) => void,
  ): void {
    const { signal } = requester;
    const leave = () => {
      // a client that only ended its sending is answered if no other waits
      const isAlone = this.#queue.size === 1;
      if (!isAlone && this.#queue.delete(waiter)) refuse(new AbandonedError(this.#retryAfter));
    };
    const waiter: Waiter = {
      requester,
      begin: (thread) => {
        signal?.removeEventListener("abort", leave);
        resolve(thread);
      },
      refuse: (error) => {
        signal?.removeEventListener("abort", leave);
        refuse(error);
      },
    };
    signal?.addEventListener("abort", leave, { once: true });
    this.#queue.push(waiter)?.refuse(new TooBusy(this.#retryAfter));
  }

  /** Milliseconds that the whole queue takes, within bounds. */
  get #retryAfter(): number {
    const all = Math.ceil(this.#queue.size * this.#lastTook / this.#atOnce);
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
