/** A node from its start to its end, whether it has the process to itself or a thread of it. */
import type { Config } from "../config/options.ts";
import { describeError, type Log } from "../log.ts";
import { type Backends, openBackends, type SharedPorts } from "./backends.ts";
import { Server } from "../server/server.ts";

/** The program that runs nodes. */
export interface NodeLifecycle {
  /**
   * Told where they listen; what it gives back is fulfilled when they are to leave. Until then it may call `reload`, to
   * have the certificate read again.
   */
  onListening(address: Deno.NetAddr, reload: () => void): Promise<void>;
  /**
   * Told when they leave, for whatever reason, and before that if their store is lost: from now on new connections are
   * not welcome. It may be told more than once.
   */
  onStopping(): void;
}

/**
 * Runs a node until it is told to leave, or can't go on. Gives back whether all went well; if not, the log says what
 * didn't.
 */
export async function runNode(
  config: Config,
  log: Log,
  sharedPorts: SharedPorts,
  lifecycle: NodeLifecycle,
): Promise<boolean> {
  let backends: Backends;
  try {
    backends = await openBackends(config, log, sharedPorts);
  } catch (error) {
    log.error((error as Error).message);
    return false;
  }
  const { store, bus, failed, lost } = backends;
  let server: Server | undefined;
  try {
    server = await Server.start({ config, log, store, bus, now: Date.now });
  } catch (error) {
    logListenFailure(config, log, error);
  }
  let ok = server !== undefined;
  let isStoreLost = false;
  void lost.then(() => {
    isStoreLost = true;
    lifecycle.onStopping(); // clients stay connected, but new ones are better sent elsewhere
  });
  if (server) {
    const storeFailure = failed.then((error) => {
      log.error("the database failed", { why: describeError(error) });
      ok = false;
    });
    const deploymentChange = server.deploymentChanged.then((error) => {
      log.error("the database is another deployment's now: the node stops", {
        error: describeError(error),
        hint: "start it again; it then is a node of that deployment",
      });
      ok = false;
    });
    await Promise.race([
      lifecycle.onListening(server.address, () => server.reload()),
      storeFailure,
      deploymentChange,
    ]);
    lifecycle.onStopping();
    await server.drain(ok ? config.drainTimeout : 0); // nothing can be carried out without the database
  }
  await bus.close();
  await store.close();
  return ok && !isStoreLost;
}

/** Says that a server can't listen where it should. */
export function logListenFailure(
  { host, port }: Pick<Config, "host" | "port">,
  log: Log,
  error: unknown,
): void {
  log.error(`can't listen on ${host}:${port}`, { why: describeError(error) });
}
