/** A node from its start to its end, whether it has the process to itself or a thread of it. */
import type { Config } from "../config/options.ts";
import { describe, type Log } from "../log.ts";
import { type Lent, openPorts, type Ports } from "./backends.ts";
import { Server } from "../server/server.ts";

/** The program that runs nodes. */
export interface Operator {
  /**
   * Told where they listen; what it gives back is fulfilled when they are to leave. Until then it may call `reload`, to
   * have the certificate read again.
   */
  listening(address: Deno.NetAddr, reload: () => void): Promise<void>;
  /**
   * Told when they leave, for whatever reason, and before that if their store is lost: from now on new connections are
   * not welcome. It may be told more than once.
   */
  leaving(): void;
}

/**
 * Runs a node until it is told to leave, or can't go on. Gives back whether all went well; if not, the log says what
 * didn't.
 */
export async function runNode(config: Config, log: Log, lent: Lent, operator: Operator): Promise<boolean> {
  let ports: Ports;
  try {
    ports = await openPorts(config, log, lent);
  } catch (error) {
    log.error((error as Error).message);
    return false;
  }
  const { store, bus, failed, lost } = ports;
  let server: Server | undefined;
  try {
    server = await Server.start({ config, log, store, bus, now: Date.now });
  } catch (error) {
    cantListen(config, log, error);
  }
  let isWell = server !== undefined;
  let isLost = false;
  void lost.then(() => {
    isLost = true;
    operator.leaving(); // clients stay connected, but new ones are better sent elsewhere
  });
  if (server) {
    const broken = failed.then((error) => {
      log.error("the database failed", { why: describe(error) });
      isWell = false;
    });
    const moved = server.moved.then((error) => {
      log.error("the database is another deployment's now: the node stops", {
        error: describe(error),
        hint: "start it again; it then is a node of that deployment",
      });
      isWell = false;
    });
    await Promise.race([operator.listening(server.address, () => server.reload()), broken, moved]);
    operator.leaving();
    await server.drain(isWell ? config.drainTimeout : 0); // nothing can be carried out without the database
  }
  await bus.close();
  await store.close();
  return isWell && !isLost;
}

/** Says that a server can't listen where it should. */
export function cantListen({ host, port }: Pick<Config, "host" | "port">, log: Log, why: unknown): void {
  log.error(`can't listen on ${host}:${port}`, { why: describe(why) });
}
