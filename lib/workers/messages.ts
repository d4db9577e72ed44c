/** The messages between the main thread and a worker. */
import type { Config } from "../config/options.ts";
import type { SharedPorts } from "../node/backends.ts";

/** A command to a worker. The first is `start`, the last is `leave`; `reload` may come while it listens. */
export type WorkerCommand =
  | { readonly kind: "start"; readonly start: StartOptions }
  | { readonly kind: "reload" }
  | { readonly kind: "leave" };

/** The options with which a worker starts. The shared ports must be transferred with the message. */
export interface StartOptions {
  /** The number of the worker, from 1 on, for the log. */
  readonly number: number;
  readonly config: Config;
  readonly sharedPorts: SharedPorts;
}

/** An event of a worker: it listens, or, as the last event, it has ended. `ok` is false after a failure. */
export type WorkerEvent =
  | { readonly kind: "listening"; readonly address: Deno.NetAddr }
  | { readonly kind: "ended"; readonly ok: boolean };
