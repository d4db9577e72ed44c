/** A thread that hashes passwords, as seen from the one that has them. */

/** scrypt's cost: N is 2 to the power of `ln`. Memory is 128 · N · r bytes. */
export interface Cost {
  readonly ln: number;
  readonly r: number;
  readonly p: number;
}

/** To the thread. Each is answered with one {@link HashResult}. */
export interface HashRequest {
  readonly password: string;
  readonly salt: Uint8Array;
  /** Bytes of the key that is wanted. */
  readonly length: number;
  readonly cost: Cost;
}

/** From the thread: the key, or why there is none. */
export type HashResult = { readonly key: Uint8Array } | { readonly error: unknown };

const WORKER_URL = new URL("./worker.ts", import.meta.url);

/** Use: one order at a time, then `close`. */
export class HashWorker {
  readonly #worker: Worker;
  #failure: Error | undefined;
  #reject: ((why: unknown) => void) | undefined; // of the order under way

  /** `module` is what the thread runs. */
  constructor(module: URL = WORKER_URL) {
    this.#worker = new Worker(module, { type: "module", name: "hash" });
    this.#worker.onerror = (event) => {
      event.preventDefault(); // else it would end this thread too
      this.#failure = new Error(`the thread that hashes passwords died: ${event.message}`);
      this.#reject?.(this.#failure);
    };
  }

  /** Whether it takes no more orders. */
  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  /** Derives a key. Rejects if that can't be done. */
  derive(request: HashRequest): Promise<Uint8Array> {
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#reject = reject;
      this.#worker.onmessage = ({ data }: MessageEvent<HashResult>) => {
        if ("key" in data) resolve(data.key);
        else reject(data.error);
      };
      this.#worker.postMessage(request);
    });
  }

  /** Ends the thread; an order under way is never answered. */
  close(): void {
    this.#worker.terminate();
  }
}
