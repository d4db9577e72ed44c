/** A node from its start to its end, whether it has the process to itself or a thread of it. */
import type { Config } from "./config/options.ts";
import { describe, type Log } from "./log.ts";
import { type Lent, openPorts, type Ports } from "./ports.ts";
import { Server } from "./server/server.ts";

/** Told where the server listens; what it gives back is fulfilled when the server is to leave. */
export type Listening = (address: Deno.NetAddr) => Promise<void>;

/**
 * Runs a node until it is told to leave, or can't go on. Gives back whether all went well; if not, the log says what
 * didn't.
 */
export async function runNode(config: Config, log: Log, lent: Lent, listening: Listening): Promise<boolean> {
  let ports: Ports;
  try {
    ports = await openPorts(config, log, lent);
  } catch (error) {
    log.error((error as Error).message);
    return false;
  }
  const { store, bus, failed } = ports;
  let server: Server | undefined;
  try {
    server = await Server.start({ config, log, store, bus, now: Date.now });
  } catch (error) {
    cantListen(config, log, error);
  }
  let isWell = server !== undefined;
  if (server) {
    const broken = failed.then((error) => {
      log.error("the database failed", { why: describe(error) });
      isWell = false;
    });
    await Promise.race([listening(server.address), broken]);
    await server.drain();
  }
  await bus.close();
  await store.close();
  return isWell;
}

/** Says that a server can't listen where it should. */
export function cantListen({ host, port }: Config, log: Log, why: unknown): void {
  log.error(`can't listen on ${host}:${port}`, { why: describe(why) });
}
