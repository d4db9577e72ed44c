/** The memory of idle connections after a storm of logins. */
import { residentBytes } from "../harness/process.ts";
import type { Address } from "../harness/server.ts";
import { pause } from "../harness/wait.ts";
import { inParallel, Peer } from "./peer.ts";

/** The result of a run: bytes of the server's memory. */
export interface IdleResult {
  readonly connections: number;
  readonly before: number;
  readonly after: readonly {
    /** Seconds after the last login. */
    readonly seconds: number;
    readonly bytes: number;
    readonly perConnection: number;
  }[];
}

const CONCURRENCY = 50; // users that are registered or logged in at the same time
// milliseconds; an idle runtime collects its garbage and returns memory within about 35 s
const SETTLE_MS = 45_000;
// seconds after the last login: soon, and when the runtime has returned memory
const MEASURED_AFTER_SECONDS = [20, 60];

/** Registers `count` users, and measures the memory of process `pid` before and after their logins. */
export async function idle(server: Address, count: number, pid: number): Promise<IdleResult> {
  const run = crypto.randomUUID().slice(0, 8);
  const registrars = await inParallel(CONCURRENCY, CONCURRENCY, () => Peer.connect(server));
  const ids = (await inParallel(CONCURRENCY, CONCURRENCY, async (lane) => {
    const own: number[] = [];
    for (let at = lane; at < count; at += CONCURRENCY) {
      own.push(await registrars[lane]!.register(`${run} idle ${at}`));
    }
    return own;
  })).flat();
  for (const peer of registrars) await peer.close();
  await pause(SETTLE_MS);
  const before = residentBytes(pid);

  let failure: string | undefined;
  const peers = await inParallel(count, CONCURRENCY, async (at) => {
    const peer = await Peer.connect(server);
    peer.onEnd = (reason) => failure ??= reason;
    await peer.login(ids[at]!);
    return peer;
  });
  const after: IdleResult["after"][number][] = [];
  for (const [at, seconds] of MEASURED_AFTER_SECONDS.entries()) {
    await pause((seconds - (MEASURED_AFTER_SECONDS[at - 1] ?? 0)) * 1_000);
    const bytes = residentBytes(pid);
    after.push({ seconds, bytes, perConnection: (bytes - before) / count });
  }
  for (const peer of peers) await peer.close();
  if (failure !== undefined) throw new Error(failure);
  return { connections: count, before, after };
}
