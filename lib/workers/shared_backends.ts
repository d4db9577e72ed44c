/** The backends that the workers of a process share: the store and the bus, as far as they are embedded. */
import { LocalHub } from "../bus/local.ts";
import { serveBus } from "../bus/port_server.ts";
import type { Config } from "../config/options.ts";
import type { Log } from "../log.ts";
import { NEVER, openEmbeddedStore, type SharedPorts } from "../node/backends.ts";
import type { SqliteStore } from "../store/sqlite/sqlite_store.ts";

/** The ports that one worker holds. */
export interface Lease {
  readonly ports: SharedPorts;
  /** Closes the ports, and releases the locks and channels that the worker still holds. */
  release(): Promise<void>;
}

/** The embedded backends of a process. With MySQL or Redis each worker has connections of its own. */
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

  /** Fulfilled, with the reason, if the store fails and must be opened again. */
  get failed(): Promise<Error> {
    return this.#store?.failed ?? NEVER;
  }

  /** Fulfilled, with the reason, if the store rejects all calls until the process is restarted. */
  get lost(): Promise<Error> {
    return this.#store?.lost ?? NEVER;
  }

  /** Returns ports for one more worker. */
  lease(): Lease {
    const store = this.#store?.share();
    if (!this.#hub) return { ports: { store }, release: () => Promise.resolve() };
    const { port1, port2 } = new MessageChannel();
    return { ports: { store, bus: port1 }, release: serveBus(this.#hub.attach(), port2) };
  }

  /** Closes the store. All leases must be released before. */
  async close(): Promise<void> {
    await this.#store?.close();
  }
}
