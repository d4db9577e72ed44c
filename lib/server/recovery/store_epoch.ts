/**
 * The store's epoch, which is another one once committed data is gone: a backup was restored, or a replica
 * took over that had not received all. Then seqs, ids and logins are given out again, and whatever the node
 * remembers is wrong.
 */
import type { Bus } from "../../bus/bus.ts";
import { describeError, type Log } from "../../log.ts";
import type { Store, StoreIdentity } from "../../store/store.ts";
import { BackgroundTask } from "../scheduling/background_task.ts";

/**
 * ms between two looks at the store's epoch: for so long a node may go on with what it remembers of another
 * history.
 */
const EPOCH_CHECK_INTERVAL_MS = 1_000;

/** What the check works with. */
export interface EpochDeps {
  readonly store: Store;
  readonly bus: Pick<Bus, "adopt">;
  readonly log: Log;
}

/** A node's knowledge of the epoch. */
export class StoreEpoch {
  readonly #deps: EpochDeps;
  readonly #onChanged: () => void;
  readonly #checkTask: BackgroundTask;
  readonly #renewTask: BackgroundTask;
  readonly #deploymentChanged = Promise.withResolvers<Error>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #identity: StoreIdentity = { deployment: "", epoch: "" };

  /** `changed` drops all that the node remembers of the store, before the node goes on in the new epoch. */
  constructor(deps: EpochDeps, onChanged: () => void) {
    this.#deps = deps;
    this.#onChanged = onChanged;
    this.#checkTask = new BackgroundTask("reading the store's epoch", () => this.#check(), deps.log);
    this.#renewTask = new BackgroundTask("renewing the store's epoch", () => this.#renew(), deps.log);
  }

  /** Reads the epoch. Rejects as the store does. */
  async open(): Promise<void> {
    this.#adopt(await this.#deps.store.identity());
    this.#timer = setInterval(() => this.#checkTask.schedule(), EPOCH_CHECK_INTERVAL_MS);
  }

  /**
   * Fulfilled, with the reason, if the database becomes another deployment's: the node's names on the bus are
   * the old one's, and it must not go on under them.
   */
  get deploymentChanged(): Promise<Error> {
    return this.#deploymentChanged.promise;
  }

  /** The epoch in which the node serves its clients. */
  get current(): string {
    return this.#identity.epoch;
  }

  /** The store lacks what it had committed: the epoch is renewed for all nodes. `what` is for the log. */
  reportLoss(what: string): void {
    this.#deps.log.error("the database lacks committed data", { error: what });
    this.#renewTask.schedule();
  }

  /** Resolves when nothing is in progress. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all([this.#checkTask.stop(), this.#renewTask.stop()]);
  }

  async #renew(): Promise<void> {
    await this.#deps.store.renewEpoch(this.current);
    this.#checkTask.schedule();
  }

  async #check(): Promise<void> {
    const { store, log } = this.#deps;
    const identity = await store.identity();
    const isOtherDeployment = identity.deployment !== this.#identity.deployment;
    if (identity.epoch === this.current && !isOtherDeployment) return;
    log.error("the database was restored or replaced: all sessions end", {
      epoch: identity.epoch,
      before: this.current,
    });
    try {
      this.#onChanged();
    } catch (error) {
      log.error("sessions not ended", { error: describeError(error) });
    }
    if (isOtherDeployment) { // the new epoch isn't adopted: nothing is written any more
      clearInterval(this.#timer);
      this.#deploymentChanged.resolve(new Error(`the database is deployment ${identity.deployment} now`));
      return;
    }
    this.#adopt(identity);
  }

  #adopt(identity: StoreIdentity): void {
    const { store, bus } = this.#deps;
    this.#identity = identity;
    store.adoptEpoch(identity.epoch);
    bus.adopt(identity.epoch);
  }
}
