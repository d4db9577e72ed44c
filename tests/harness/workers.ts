/** Servers with two workers: finding the worker of a client, and reaching a certain one. */
import { type FramedClient, newUser } from "./framed_client.ts";
import type { Server } from "./server.ts";
import { until } from "./wait.ts";

/** Options of a server with two workers that logs the worker of each login. */
export const WORKERS: readonly string[] = ["--workers", "2", "--log-level", "debug"];
/** The greatest number of attempts to reach a certain worker. Each succeeds with a probability of 1/2. */
export const MAX_TRIES = 100;

/** Returns the log lines of an event from byte `from` of the log on. */
export function events(server: Server, event: string, from = 0): Record<string, unknown>[] {
  return server.log(from).split("\n").slice(0, -1)
    .filter((line) => line.includes(`"event":"${event}"`))
    .map((line) => JSON.parse(line));
}

/** A client that is logged in, and its worker. */
export interface Entered {
  readonly client: FramedClient;
  readonly worker: number;
}

/** Logs a client in by `enter`, and finds its worker. */
export async function entered(server: Server, enter: () => Promise<FramedClient>): Promise<Entered> {
  const from = server.logSize;
  const client = await enter();
  const { worker } = await until(
    () => events(server, "session started", from).find(({ user }) => user === client.id),
    "a login to be logged",
  );
  return { client, worker: worker as number };
}

/** Logs in repeatedly until a login is on the wanted worker. */
export async function enterOn(
  server: Server,
  wanted: number,
  enter: () => Promise<FramedClient> = () => newUser(server),
): Promise<FramedClient> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const { client, worker } = await entered(server, enter);
    if (worker === wanted) return client;
    await client.close();
  }
  throw new Error(`none of ${MAX_TRIES} connections came to worker ${wanted}`);
}

/** Returns a new user on each of two workers. */
export async function oneEach(server: Server): Promise<[FramedClient, FramedClient]> {
  return [await enterOn(server, 1), await enterOn(server, 2)];
}
