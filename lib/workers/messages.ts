/** What the main thread and a worker say to each other. */
import type { Config } from "../config/options.ts";
import type { SharedPorts } from "../node/backends.ts";

/** To a worker: first how to start; once it listens, to read its certificate again; and later, once, to leave. */
export type WorkerCommand =
  | { readonly kind: "start"; readonly start: StartOptions }
  | { readonly kind: "reload" }
  | { readonly kind: "leave" };

/** How a worker starts. The ports it is lent must be transferred with it. */
export interface StartOptions {
  /** Its place among the workers, from 1 on: the log has it. */
  readonly number: number;
  readonly config: Config;
  readonly sharedPorts: SharedPorts;
}

/** From a worker: where it listens, and, as the last thing, whether all went well. */
export type WorkerEvent =
  | { readonly kind: "listening"; readonly address: Deno.NetAddr }
  | { readonly kind: "ended"; readonly ok: boolean };
