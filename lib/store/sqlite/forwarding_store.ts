/**
 * The caller's side of the embedded store's operations: each is a call that the database thread carries out.
 */
import type { Store } from "../store.ts";
import type { Batcher } from "./batcher.ts";
import { type CallArguments, type FlatOperations, type OperationName, OPERATIONS } from "./operations.ts";

class Forwarding {
  protected readonly batcher: Batcher;

  constructor(batcher: Batcher) {
    this.batcher = batcher;
  }

  static {
    for (const name of Object.keys(OPERATIONS) as OperationName[]) {
      Object.defineProperty(Forwarding.prototype, name, {
        value(this: Forwarding, ...args: CallArguments<typeof name>): Promise<unknown> {
          return this.batcher.call(name, ...args);
        },
      });
    }
  }
}

/** A base class with a method for each operation of {@link OPERATIONS} whose arguments need no conversion. */
export const ForwardingStore = Forwarding as new (
  batcher: Batcher,
) => Forwarding & Pick<Store, Exclude<OperationName, keyof FlatOperations>>;
