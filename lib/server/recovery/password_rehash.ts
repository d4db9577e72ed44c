/**
 * Hashes, in the background, the passwords that were taken over from a server that kept them as they were.
 * Logins go first: it is one at a time, and only while no login waits.
 */
import type { Log } from "../../log.ts";
import { sleep } from "../../sleep.ts";
import { PLAINTEXT_PREFIX, type Store } from "../../store/store.ts";
import type { PasswordHasher } from "../../passwords/password_hasher.ts";

const BATCH_SIZE = 1_000; // accounts fetched together
const POLL_INTERVAL_MS = 100; // ms between two looks whether a login still waits

/** What it is done with. */
export interface RehashDeps {
  readonly store: Store;
  readonly passwords: PasswordHasher;
  readonly log: Log;
}

/** Hashes what isn't hashed. Rejects as the store does; begun again, it goes on. `stopped` ends it early. */
export async function rehashAll(
  { store, passwords, log }: RehashDeps,
  isStopped: () => boolean,
): Promise<void> {
  let count = 0;
  for (let after = 0;;) {
    const accounts = await store.plaintextAccounts(after, BATCH_SIZE);
    if (accounts.length === 0) break;
    after = accounts.at(-1)!.id;
    // In no order, so that several nodes at work seldom take the same one.
    for (const { id } of accounts.toSorted(() => Math.random() - 0.5)) {
      while (passwords.hasQueued && !isStopped()) await sleep(POLL_INTERVAL_MS);
      if (isStopped()) return;
      const password = (await store.findUser({ id }))?.password;
      if (!password?.startsWith(PLAINTEXT_PREFIX)) continue; // done by another node, or at a login
      await store.setPassword(id, await passwords.hash(password.slice(PLAINTEXT_PREFIX.length)), password);
      count++;
    }
  }
  if (count > 0) log.info("passwords hashed that were not", { count });
}
