/** What the workers of a process share: the store and the bus, as far as they are embedded. */
import { LocalHub } from "../bus/local.ts";
import { serveBus } from "../bus/port_server.ts";
import type { Config } from "../config/options.ts";
import type { Log } from "../log.ts";
import { NEVER, openEmbeddedStore, type SharedPorts } from "../node/backends.ts";
import type { SqliteStore } from "../store/sqlite/sqlite_store.ts";

/** What one worker is lent. */
export interface Lease {
  readonly ports: SharedPorts;
  /** Takes it back; whatever the worker still held is free then. */
  release(): Promise<void>;
}

/** With MySQL each worker has connections of its own, and the same with Redis: then there is nothing to share. */
export class SharedBackends {
  readonly #store: SqliteStore | undefined;
  readonly #hub: LocalHub | undefined;

  private constructor(store: SqliteStore | undefined, hub: LocalHub | undefined) {
    this.#store = store;
    this.#hub = hub;
  }

  /** Rejects with an Error of one line. */
  static async open(config: Config, log: Log): Promise<SharedBackends> {
    const store = config.mysql ? undefined : await openEmbeddedStore(config, log);
    return new SharedBackends(store, config.redis ? undefined : new LocalHub());
  }

  /** Fulfilled, with the reason, if the store can't go on. */
  get failed(): Promise<Error> {
    return this.#store?.failed ?? NEVER;
  }

  /** Fulfilled, with the reason, if the store rejects all calls until the process is started anew. */
  get lost(): Promise<Error> {
    return this.#store?.lost ?? NEVER;
  }

  /** For one more worker. */
  lease(): Lease {
    const store = this.#store?.share();
    if (!this.#hub) return { ports: { store }, release: () => Promise.resolve() };
    const { port1, port2 } = new MessageChannel();
    return { ports: { store, bus: port1 }, release: serveBus(this.#hub.attach(), port2) };
  }

  /** Once everything lent has been taken back. */
  async close(): Promise<void> {
    await this.#store?.close();
  }
}
