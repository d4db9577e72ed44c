/**
 * The store's epoch. It is renewed when committed data is lost: a backup was restored, or a replica was
 * promoted that had not received everything. Then seqs, ids and login epochs are assigned again, and the
 * state of the node is invalid.
 */
import type { Bus } from "../../bus/bus.ts";
import { describeError, type Log } from "../../log.ts";
import type { Store, StoreIdentity } from "../../store/store.ts";
import { BackgroundTask } from "../scheduling/background_task.ts";

/**
 * Milliseconds between two checks of the epoch. For so long a node may go on with the state of another
 * history.
 */
const EPOCH_CHECK_INTERVAL_MS = 1_000;

/** The parts of a node that the check uses. */
export interface EpochDeps {
  readonly store: Store;
  readonly bus: Pick<Bus, "adopt">;
  readonly log: Log;
}

/** The epoch in which a node works, and its checks. */
export class StoreEpoch {
  readonly #deps: EpochDeps;
  readonly #onChanged: () => void;
  readonly #checkTask: BackgroundTask;
  readonly #renewTask: BackgroundTask;
  readonly #deploymentChanged = Promise.withResolvers<Error>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #identity: StoreIdentity = { deployment: "", epoch: "" };

  /**
   * `onChanged` drops the node's state of the old history. It is called before the node adopts the new epoch.
   */
  constructor(deps: EpochDeps, onChanged: () => void) {
    this.#deps = deps;
    this.#onChanged = onChanged;
    this.#checkTask = new BackgroundTask("reading the store's epoch", () => this.#check(), deps.log);
    this.#renewTask = new BackgroundTask("renewing the store's epoch", () => this.#renew(), deps.log);
  }

  /** Reads the epoch and starts the checks. Rejects as the store does. */
  async open(): Promise<void> {
    this.#adopt(await this.#deps.store.identity());
    this.#timer = setInterval(() => this.#checkTask.schedule(), EPOCH_CHECK_INTERVAL_MS);
  }

  /**
   * Fulfilled, with the reason, if the database belongs to another deployment now. The node must stop,
   * because its names on the bus are those of the old deployment.
   */
  get deploymentChanged(): Promise<Error> {
    return this.#deploymentChanged.promise;
  }

  /** The epoch in which the node serves its clients. */
  get current(): string {
    return this.#identity.epoch;
  }

  /**
   * Renews the epoch of all nodes, because the store lacks committed data. `lostData` names it for the log.
   */
  reportLoss(lostData: string): void {
    this.#deps.log.error("the database lacks committed data", { data: lostData });
    this.#renewTask.schedule();
  }

  /** Stops the checks. Resolves when none is in progress. */
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
    log.error("the database was restored or replaced: ending all sessions", {
      epoch: identity.epoch,
      before: this.current,
    });
    try {
      this.#onChanged();
    } catch (error) {
      log.error("Cannot end the sessions", { error: describeError(error) });
    }
    if (isOtherDeployment) { // the store rejects all further writes, because its new epoch is not adopted
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
