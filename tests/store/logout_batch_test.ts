/** Logouts on their way to the store. */
import { assertEquals } from "@std/assert";
import { Log } from "../../lib/log.ts";
import { LogoutBatch } from "../../lib/server/sessions/logout_batch.ts";
import { IN_MEMORY, SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import { type Login, type Store, StoreUnavailableError } from "../../lib/store/store.ts";
import { wrapped } from "../harness/nodes.ts";
import { pause, until } from "../harness/wait.ts";
import { ROOMY } from "./store_fixture.ts";

const quiet = new Log("error", "text", () => {});

/** Returns the users of each write. The first write is refused when `work` has returned. */
async function writesAround(work: (logouts: LogoutBatch) => void): Promise<number[][]> {
  const real = await SqliteStore.open(IN_MEMORY, ROOMY);
  const writes: number[][] = [];
  const first = Promise.withResolvers<void>();
  const store = wrapped<Store>(real, (name, go, [logins]) => {
    if (name !== "releaseAccounts") return go();
    writes.push((logins as readonly Login[]).map(({ user }) => user));
    return writes.length === 1 ? first.promise.then(go) : go();
  });
  const logouts = new LogoutBatch(store, quiet);
  try {
    logouts.add({ user: 1, loginEpoch: 1 });
    await until(() => writes.length === 1, "the first write");
    work(logouts);
    first.reject(new StoreUnavailableError("fails on purpose"));
    await logouts.flush();
    return writes;
  } finally {
    await real.close();
  }
}

Deno.test("logout batch: writes refused logouts again, before later ones", async () => {
  assertEquals(await writesAround((logouts) => logouts.add({ user: 2, loginEpoch: 1 })), [[1], [1, 2]]);
});

Deno.test("logout batch: drops refused logouts when the store's history has changed meanwhile", async () => {
  const writes = await writesAround((logouts) => {
    logouts.clear();
    logouts.add({ user: 2, loginEpoch: 1 });
  });
  assertEquals(writes, [[1], [2]]);
});

Deno.test("logout batch: writes logouts of different event-loop turns together", async () => {
  const writes: number[][] = [];
  const store = {
    releaseAccounts: (logins: readonly Login[]) =>
      Promise.resolve(void writes.push(logins.map((each) => each.user))),
  };
  const logouts = new LogoutBatch(store, quiet);
  logouts.add({ user: 1, loginEpoch: 1 });
  await pause(0); // this timer is due before that of the batch, however busy the machine is
  logouts.add({ user: 2, loginEpoch: 1 });
  await until(() => writes.length > 0, "the write");
  assertEquals(writes, [[1, 2]]);
});
