/** A worker as the main thread sees it. */
import type { Config } from "../config/options.ts";
import type { Log } from "../log.ts";
import type { Order, Report } from "./messages.ts";
import type { Loan } from "./shared_backends.ts";

/** A node on a thread of its own. */
export class WorkerNode {
  /** Where it listens; undefined if it has ended instead. */
  readonly listening: Promise<Deno.NetAddr | undefined>;
  /** Fulfilled when nothing of it is left, with whether all went well. If not, the log says what didn't. */
  readonly ended: Promise<boolean>;

  readonly #number: number;
  readonly #log: Log;
  readonly #worker: Worker;
  readonly #end: (isWell: boolean) => void;

  /** Starts it. `number` is its place among the workers, from 1 on. */
  constructor(number: number, config: Config, log: Log, loan: Loan) {
    this.#number = number;
    this.#log = log;
    const url = new URL("./worker.ts", import.meta.url);
    const worker = this.#worker = new Worker(url, { type: "module", name: `worker ${number}` });
    const listening = Promise.withResolvers<Deno.NetAddr | undefined>();
    const ended = Promise.withResolvers<boolean>();
    this.#end = ended.resolve;
    this.listening = listening.promise;
    this.ended = ended.promise.then(async (isWell) => {
      listening.resolve(undefined);
      worker.terminate();
      await loan.end();
      return isWell;
    });
    worker.onmessage = ({ data }: MessageEvent<Report>) => {
      if (data.kind === "listening") listening.resolve(data.address);
      else ended.resolve(data.isWell);
    };
    worker.onerror = (event) => {
      event.preventDefault(); // else it would end this thread too, with nothing said to the other workers' clients
      this.#fail("a worker died", event.message);
    };
    const { lent } = loan;
    const ports = [lent.store, lent.bus].filter((port) => port !== undefined);
    this.#order({ kind: "start", start: { number, config, lent } }, ports);
  }

  /** Lets the node read its certificate again. */
  reload(): void {
    this.#order({ kind: "reload" });
  }

  /** Lets the node leave, as at a signal, and ends the thread if it hasn't within `ms` milliseconds. */
  async leave(ms: number): Promise<boolean> {
    this.#order({ kind: "leave" });
    const late = setTimeout(() => this.#fail("a worker did not leave in time"), ms);
    try {
      return await this.ended;
    } finally {
      clearTimeout(late);
    }
  }

  /** Ends the thread as it is. */
  terminate(): Promise<boolean> {
    this.#end(false);
    return this.ended;
  }

  #order(order: Order, transfer: Transferable[] = []): void {
    this.#worker.postMessage(order, transfer);
  }

  #fail(event: string, why?: string): void {
    this.#log.error(event, { worker: this.#number, why });
    this.#end(false);
  }
}
