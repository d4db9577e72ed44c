/** A thread that hashes passwords, as seen from the one that has them. */

/** scrypt's cost: N is 2 to the power of `ln`. Memory is 128 · N · r bytes. */
export interface Cost {
  readonly ln: number;
  readonly r: number;
  readonly p: number;
}

/** To the thread. Each is answered with one {@link HashAnswer}. */
export interface HashOrder {
  readonly password: string;
  readonly salt: Uint8Array;
  /** Bytes of the key that is wanted. */
  readonly length: number;
  readonly cost: Cost;
}

/** From the thread: the key, or why there is none. */
export type HashAnswer = { readonly key: Uint8Array } | { readonly error: unknown };

const MODULE = new URL("./worker.ts", import.meta.url);

/** Use: one order at a time, then `close`. */
export class HashThread {
  readonly #worker: Worker;
  #death: Error | undefined;
  #reject: ((why: unknown) => void) | undefined; // of the order under way

  /** `module` is what the thread runs. */
  constructor(module: URL = MODULE) {
    this.#worker = new Worker(module, { type: "module", name: "hash" });
    this.#worker.onerror = (event) => {
      event.preventDefault(); // else it would end this thread too
      this.#death = new Error(`the thread that hashes passwords died: ${event.message}`);
      this.#reject?.(this.#death);
    };
  }

  /** Whether it takes no more orders. */
  get isDead(): boolean {
    return this.#death !== undefined;
  }

  /** Derives a key. Rejects if that can't be done. */
  derive(order: HashOrder): Promise<Uint8Array> {
    if (this.#death) return Promise.reject(this.#death);
    return new Promise((resolve, reject) => {
      this.#reject = reject;
      this.#worker.onmessage = ({ data }: MessageEvent<HashAnswer>) => {
        if ("key" in data) resolve(data.key);
        else reject(data.error);
      };
      this.#worker.postMessage(order);
    });
  }

  /** Ends the thread; an order under way is never answered. */
  close(): void {
    this.#worker.terminate();
  }
}
