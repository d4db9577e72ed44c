/**
 * Password hashes: scrypt, in PHC string form with its parameters inside, so that they can be raised and old hashes
 * still be checked. Hashing runs in threads of its own, a bounded number of them; the rest queue up.
 */
import { Buffer } from "node:buffer";
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { PLAIN } from "../store/store.ts";
import { type Cost, HashThread } from "./thread.ts";

export type { Cost } from "./thread.ts";

/** Too many passwords wait to be hashed. */
export class TooBusy extends Error {
  override readonly name = "TooBusy";

  constructor(
    /** When it may be better, in milliseconds from now. */
    readonly retryAfter: number,
  ) {
    super("too many logins at once");
  }
}

const SALT = 16; // bytes; NIST SP 800-132 asks for at least 128 bits
const HASH = 32; // bytes
/**
 * For how long a thread rests, in times of what the hash took, if that didn't show a user to be known: to be nice is not
 * enough, as Linux lets a thread finish its slice of some milliseconds before another that waits for the core. So a flood of
 * guesses leaves the cores to the others half of the time, and a rush of people who know their passwords isn't held up.
 */
const REST = 1;
const LEAST_REST = 1; // ms: a timer can't do less
/** What a thread hashes to show that it is there: next to no work. */
const TRIAL = { password: "", salt: new Uint8Array(SALT), length: HASH, cost: { ln: 1, r: 1, p: 1 } };

/** Threads that hash passwords for each of so many nodes: one core less than there are, as a flood of passwords must leave one. */
export function hashThreads(nodes: number): number {
  return Math.max(1, Math.floor((navigator.hardwareConcurrency - 1) / nodes));
}

/** The form of the server's own hashes. */
export const PHC = /^\$scrypt\$ln=(\d+),r=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;

/** Hashes and checks passwords, a bounded number at a time. Its threads begin when they are first needed, or at {@link start}. */
export class Passwords implements Disposable {
  readonly #cost: Cost;
  readonly #atOnce: number;
  readonly #queueLimit: number;
  readonly #queue: ((thread: HashThread) => void)[] = [];
  readonly #begin: () => HashThread;
  readonly #threads = new Set<HashThread>();
  readonly #idle: HashThread[] = [];
  readonly #resting = new Set<ReturnType<typeof setTimeout>>();
  #lastTook = 100; // ms that one hash took, with the rest after it

  /** `begin` begins a thread. */
  constructor(cost: Cost, atOnce: number, queueLimit: number, begin = () => new HashThread()) {
    this.#begin = begin;
    this.#cost = cost;
    this.#atOnce = atOnce;
    this.#queueLimit = queueLimit;
  }

  /**
   * Begins all threads, and resolves when each has hashed something: a process that has no descriptors left could not
   * begin them. Rejects if one can't do it.
   */
  async start(): Promise<void> {
    await Promise.all(Array.from({ length: this.#atOnce - this.#threads.size }, async () => {
      const thread = this.#add();
      await thread.derive(TRIAL);
      this.#free(thread);
    }));
  }

  /** The hash of a new password. Throws {@link TooBusy}. */
  async hash(password: string): Promise<string> {
    const salt = randomBytes(SALT);
    const { ln, r, p } = this.#cost;
    const hash = await this.#derive(password, salt, HASH, this.#cost, () => false);
    return `$scrypt$ln=${ln},r=${r},p=${p}$${base64(salt)}$${base64(hash)}`;
  }

  /**
   * Whether the password is the one that was hashed; `stale` if the hash was made with another cost than today's, or
   * it isn't hashed at all yet. Without a hash (there is no such user) the answer is no, and takes as long. Throws
   * {@link TooBusy}.
   */
  async verify(password: string, phc: string | undefined): Promise<{ right: boolean; stale: boolean }> {
    const match = phc === undefined ? null : PHC.exec(phc);
    if (!match) {
      const right = phc !== undefined && timingSafeEqual(digest(phc), digest(PLAIN + password));
      await this.#derive(password, randomBytes(SALT), HASH, this.#cost, () => right);
      return { right, stale: true };
    }
    const [ln, r, p] = match.slice(1, 4).map(Number) as [number, number, number];
    const [salt, hash] = match.slice(4, 6).map((text) => Buffer.from(text, "base64")) as [Buffer, Buffer];
    let right = false;
    await this.#derive(
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
    return this.#queue.length > 0;
  }

  /** Ends the threads. What is still being hashed, for connections that have ended, is never answered. */
  [Symbol.dispose](): void {
    for (const rest of this.#resting) clearTimeout(rest);
    for (const thread of this.#threads) thread.close();
  }

  /** The key; `isRight` is asked whether it shows a user to be known. */
  async #derive(
    password: string,
    salt: Uint8Array,
    length: number,
    cost: Cost,
    isRight: (key: Uint8Array) => boolean,
  ): Promise<Uint8Array> {
    const thread = await this.#thread();
    const began = performance.now();
    let known = false;
    try {
      const key = await thread.derive({ password, salt, length, cost });
      known = isRight(key);
      return key;
    } finally {
      const took = performance.now() - began;
      const rest = known ? 0 : took * REST;
      this.#lastTook = took + rest;
      if (rest < LEAST_REST) this.#free(thread);
      else this.#rest(thread, rest);
    }
  }

  #rest(thread: HashThread, ms: number): void {
    const rest = setTimeout(() => {
      this.#resting.delete(rest);
      this.#free(thread);
    }, ms);
    this.#resting.add(rest);
  }

  /** The next order is the thread's, or its successor's. */
  #free(thread: HashThread): void {
    const free = thread.isDead ? this.#replace(thread) : thread;
    const next = this.#queue.shift();
    if (next) next(free);
    else this.#idle.push(free);
  }

  #add(): HashThread {
    const thread = this.#begin();
    this.#threads.add(thread);
    return thread;
  }

  #replace(dead: HashThread): HashThread {
    dead.close();
    this.#threads.delete(dead);
    return this.#add();
  }

  /** A thread that has nothing else to do, when it is the caller's turn. */
  #thread(): HashThread | Promise<HashThread> {
    const idle = this.#idle.pop();
    if (idle) return idle;
    if (this.#threads.size < this.#atOnce) return this.#add();
    if (this.#queue.length < this.#queueLimit) return new Promise((resolve) => this.#queue.push(resolve));
    throw new TooBusy(Math.ceil(this.#queue.length * this.#lastTook / this.#atOnce));
  }
}

/** For comparing texts in a time that tells nothing. */
function digest(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64").replace(/=+$/, "");
}
