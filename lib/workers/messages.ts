/** What the main thread and a worker say to each other. */
import type { Config } from "../config/options.ts";
import type { Lent } from "../node/backends.ts";

/** To a worker: first how to start; once it listens, to read its certificate again; and later, once, to leave. */
export type Order =
  | { readonly kind: "start"; readonly start: Start }
  | { readonly kind: "reload" }
  | { readonly kind: "leave" };

/** How a worker starts. The ports it is lent must be transferred with it. */
export interface Start {
  /** Its place among the workers, from 1 on: the log has it. */
  readonly number: number;
  readonly config: Config;
  readonly lent: Lent;
}

/** From a worker: where it listens, and, as the last thing, whether all went well. */
export type Report =
  | { readonly kind: "listening"; readonly address: Deno.NetAddr }
  | { readonly kind: "ended"; readonly isWell: boolean };
