/** Servers with two event loops: which of them a client has come to, and how to come to a certain one. */
import { type FramedClient, newUser } from "./framed_client.ts";
import type { Server } from "./server.ts";
import { until } from "./wait.ts";

/** Arguments for a server with two workers that logs who comes to which. */
export const WORKERS: readonly string[] = ["--workers", "2", "--log-level", "debug"];
/** Connections until one is on a certain worker: each has a chance of a half. */
export const TRIES = 100;

/** What the server has logged of an event, from byte `from` of the log on. */
export function events(server: Server, event: string, from = 0): Record<string, unknown>[] {
  return server.log(from).split("\n").slice(0, -1)
    .filter((line) => line.includes(`"event":"${event}"`))
    .map((line) => JSON.parse(line));
}

/** A client that has logged in, and the worker that it came to. */
export interface Entered {
  readonly client: FramedClient;
  readonly worker: number;
}

/** Logs a client in, as `enter` does it. */
export async function entered(server: Server, enter: () => Promise<FramedClient>): Promise<Entered> {
  const from = server.logSize;
  const client = await enter();
  const { worker } = await until(
    () => events(server, "session started", from).find(({ user }) => user === client.id),
    "a login to be logged",
  );
  return { client, worker: worker as number };
}

/** Logs in again and again until that was on this worker. */
export async function enterOn(
  server: Server,
  wanted: number,
  enter: () => Promise<FramedClient> = () => newUser(server),
): Promise<FramedClient> {
  for (let tries = 0; tries < TRIES; tries++) {
    const { client, worker } = await entered(server, enter);
    if (worker === wanted) return client;
    await client.close();
  }
  throw new Error(`none of ${TRIES} connections came to worker ${wanted}`);
}

/** A new user on each worker. */
export async function oneEach(server: Server): Promise<[FramedClient, FramedClient]> {
  return [await enterOn(server, 1), await enterOn(server, 2)];
}
