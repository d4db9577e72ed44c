/** The main thread's side of a thread that hashes passwords. */

/** The cost of scrypt: N is 2 to the power of `ln`. The memory is 128 · N · r bytes. */
export interface Cost {
  readonly ln: number;
  readonly r: number;
  readonly p: number;
}

/** A request to the thread. The reply is one {@link HashResult}. */
export interface HashRequest {
  readonly password: string;
  readonly salt: Uint8Array;
  /** The length of the key in bytes. */
  readonly length: number;
  readonly cost: Cost;
}

/** A reply of the thread: the key, or the error. */
export type HashResult = { readonly key: Uint8Array } | { readonly error: unknown };

const WORKER_URL = new URL("./worker.ts", import.meta.url);

/** A thread that hashes passwords. It takes one request at a time. */
export class HashWorker {
  readonly #worker: Worker;
  #failure: Error | undefined;
  #reject: ((error: unknown) => void) | undefined; // of the request in progress

  /** `module` is the thread's module. */
  constructor(module: URL = WORKER_URL) {
    this.#worker = new Worker(module, { type: "module", name: "hash" });
    this.#worker.onerror = (event) => {
      event.preventDefault(); // otherwise the error would end this thread, too
      this.#failure = new Error(`the hash thread died: ${event.message}`);
      this.#reject?.(this.#failure);
    };
  }

  /** Whether the thread has died: it takes no more requests. */
  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  /** Derives a key. Rejects if the thread fails to derive it, or has died. */
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

  /** Terminates the thread. A request in progress is never settled. */
  close(): void {
    this.#worker.terminate();
  }
}
