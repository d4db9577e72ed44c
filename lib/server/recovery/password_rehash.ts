/**
 * Hashes plain-text passwords of an upgraded database in the background. It hashes one at a time, and only
 * while no login waits for a hash.
 */
import type { Log } from "../../log.ts";
import { sleep } from "../../sleep.ts";
import { PLAINTEXT_PREFIX, type Store } from "../../store/store.ts";
import type { PasswordHasher } from "../../passwords/password_hasher.ts";

/** Accounts per call of the store. */
const BATCH_SIZE = 1_000;
/** Milliseconds between two checks of whether a login still waits. */
const POLL_INTERVAL_MS = 100;

/** The parts of a node that hashing uses. */
export interface RehashDeps {
  readonly store: Store;
  readonly passwords: PasswordHasher;
  readonly log: Log;
}

/**
 * Hashes all plain-text passwords. Rejects as the store does; another call continues. `isStopped` ends it
 * early.
 */
export async function rehashAll(
  { store, passwords, log }: RehashDeps,
  isStopped: () => boolean,
): Promise<void> {
  let count = 0;
  for (let after = 0;;) {
    const accounts = await store.plaintextAccounts(after, BATCH_SIZE);
    if (accounts.length === 0) break;
    after = accounts.at(-1)!.id;
    // In random order, so that several nodes seldom hash the same one.
    for (const { id } of accounts.toSorted(() => Math.random() - 0.5)) {
      while (passwords.hasQueued && !isStopped()) await sleep(POLL_INTERVAL_MS);
      if (isStopped()) return;
      const password = (await store.findUser({ id }))?.password;
      if (!password?.startsWith(PLAINTEXT_PREFIX)) continue; // hashed by another node, or at a login
      await store.setPassword(id, await passwords.hash(password.slice(PLAINTEXT_PREFIX.length)), password);
      count++;
    }
  }
  if (count > 0) log.info("plain-text passwords hashed", { count });
}
