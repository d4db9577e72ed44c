/** A node from its start to its end, in a process or a thread of its own. */
import type { Config } from "../config/options.ts";
import { describeError, type Log } from "../log.ts";
import { type Backends, openBackends, type SharedPorts } from "./backends.ts";
import { Server } from "../server/server.ts";

/** The callbacks of a program that runs nodes. */
export interface NodeLifecycle {
  /**
   * Called when the nodes listen. Returns a promise that is fulfilled when they must stop. Until then the
   * program may call `reload`, which makes the nodes read the certificate again.
   */
  onListening(address: Deno.NetAddr, reload: () => void): Promise<void>;
  /**
   * Called when the nodes stop, and earlier if their store is lost: load balancers should send new clients
   * elsewhere from now on. It may be called more than once.
   */
  onStopping(): void;
}

/**
 * Runs a node until it must stop or fails. Returns whether it ended without a failure; the log has each
 * failure.
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
  const storeLoss = watchStoreLoss(lost, lifecycle);
  if (server) {
    const storeFailure = failed.then((error) => {
      log.error("the database failed", { error: describeError(error) });
      ok = false;
    });
    const deploymentChange = server.deploymentChanged.then((error) => {
      log.error("the database belongs to another deployment now: the node stops", {
        error: describeError(error),
        hint: "start the node again to make it a node of that deployment",
      });
      ok = false;
    });
    await Promise.race([
      lifecycle.onListening(server.address, () => server.reload()),
      storeFailure,
      deploymentChange,
    ]);
    lifecycle.onStopping();
    await server.drain(ok ? config.drainTimeout : 0); // no request can be carried out without the database
  }
  await bus.close();
  await store.close();
  return ok && !storeLoss.happened;
}

/** Tells the program when the store is lost. Clients stay connected; new ones should be sent elsewhere. */
export function watchStoreLoss(
  lost: Promise<Error>,
  lifecycle: NodeLifecycle,
): { readonly happened: boolean } {
  const loss = { happened: false };
  void lost.then(() => {
    loss.happened = true;
    lifecycle.onStopping();
  });
  return loss;
}

/** Logs that a server cannot listen on its address. */
export function logListenFailure(
  { host, port }: Pick<Config, "host" | "port">,
  log: Log,
  error: unknown,
): void {
  log.error(`Cannot listen on ${host}:${port}`, { error: describeError(error) });
}
