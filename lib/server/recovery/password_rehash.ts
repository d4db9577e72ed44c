/**
 * Hashes, in the background, the passwords that were taken over from a server that kept them as they were.
 * Logins go first: it is one at a time, and only while no login waits.
 */
import type { Log } from "../../log.ts";
import { PLAIN, type Store } from "../../store/store.ts";
import type { Passwords } from "../../passwords/password_hasher.ts";

const AT_ONCE = 1_000; // accounts fetched together
const PAUSE = 100; // ms between two looks whether a login still waits

/** What it is done with. */
export interface RehashPorts {
  readonly store: Store;
  readonly passwords: Passwords;
  readonly log: Log;
}

/** Hashes what isn't hashed. Rejects as the store does; begun again, it goes on. `stopped` ends it early. */
export async function rehashAll(
  { store, passwords, log }: RehashPorts,
  stopped: () => boolean,
): Promise<void> {
  let count = 0;
  for (let after = 0;;) {
    const accounts = await store.unhashed(after, AT_ONCE);
    if (accounts.length === 0) break;
    after = accounts.at(-1)!.id;
    // In no order, so that several nodes at work seldom take the same one.
    for (const { id } of accounts.toSorted(() => Math.random() - 0.5)) {
      while (passwords.isBusy && !stopped()) await new Promise((resolve) => setTimeout(resolve, PAUSE));
      if (stopped()) return;
      const password = (await store.findUser({ id }))?.password;
      if (!password?.startsWith(PLAIN)) continue; // done by another node, or at a login
      await store.setPassword(id, await passwords.hash(password.slice(PLAIN.length)), password);
      count++;
    }
  }
  if (count > 0) log.info("passwords hashed that were not", { count });
}
