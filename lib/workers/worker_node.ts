/** The main thread's side of a worker. */
import type { Config } from "../config/options.ts";
import type { Log } from "../log.ts";
import type { WorkerCommand, WorkerEvent } from "./messages.ts";
import type { Lease } from "./shared_backends.ts";

/** A node in a thread of its own. */
export class WorkerNode {
  /** Fulfilled with the address on which the node listens, or with undefined if it has ended instead. */
  readonly listening: Promise<Deno.NetAddr | undefined>;
  /**
   * Fulfilled when the thread has ended, with whether it ended without a failure. The log has each failure.
   */
  readonly ended: Promise<boolean>;

  readonly #number: number;
  readonly #log: Log;
  readonly #worker: Worker;
  readonly #resolveEnded: (ok: boolean) => void;

  /** Starts the thread. `number` counts the workers from 1 on. */
  constructor(number: number, config: Config, log: Log, lease: Lease) {
    this.#number = number;
    this.#log = log;
    const url = new URL("./worker.ts", import.meta.url);
    const worker = this.#worker = new Worker(url, { type: "module", name: `worker ${number}` });
    const listening = Promise.withResolvers<Deno.NetAddr | undefined>();
    const ended = Promise.withResolvers<boolean>();
    this.#resolveEnded = ended.resolve;
    this.listening = listening.promise;
    this.ended = ended.promise.then(async (isWell) => {
      listening.resolve(undefined);
      worker.terminate();
      await lease.release();
      return isWell;
    });
    worker.onmessage = ({ data }: MessageEvent<WorkerEvent>) => {
      if (data.kind === "listening") listening.resolve(data.address);
      else ended.resolve(data.ok);
    };
    worker.onerror = (event) => {
      event.preventDefault(); // otherwise the error ends the process before the other workers drain
      this.#fail("a worker died", event.message);
    };
    const { ports: sharedPorts } = lease;
    const transfer = [sharedPorts.store, sharedPorts.bus].filter((port) => port !== undefined);
    this.#send({ kind: "start", start: { number, config, sharedPorts } }, transfer);
  }

  /** Makes the node read its certificate again. */
  reload(): void {
    this.#send({ kind: "reload" });
  }

  /** Stops the node as a signal does. Terminates the thread if it has not ended after `timeoutMs`. */
  async stop(timeoutMs: number): Promise<boolean> {
    this.#send({ kind: "leave" });
    const timer = setTimeout(() => this.#fail("a worker did not stop in time"), timeoutMs);
    try {
      return await this.ended;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Terminates the thread at once. */
  terminate(): Promise<boolean> {
    this.#resolveEnded(false);
    return this.ended;
  }

  #send(command: WorkerCommand, transfer: Transferable[] = []): void {
    this.#worker.postMessage(command, transfer);
  }

  #fail(event: string, error?: string): void {
    this.#log.error(event, { worker: this.#number, error });
    this.#resolveEnded(false);
  }
}
