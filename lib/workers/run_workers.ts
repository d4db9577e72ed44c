/**
 * Several nodes in one process, each in a thread of its own. The system distributes the connections among
 * them.
 */
import type { Config } from "../config/options.ts";
import { describeError, type Log } from "../log.ts";
import { logListenFailure, type NodeLifecycle, watchStoreLoss } from "../node/run_node.ts";
import { SharedBackends } from "./shared_backends.ts";
import { WorkerNode } from "./worker_node.ts";

/** Milliseconds that a worker may take beyond the drain timeout, because a slow store can delay its end. */
export const STOP_MARGIN_MS = 15_000;

/**
 * Runs the configured number of nodes until they must stop, or one of them fails. Then all of them stop, so
 * that a supervisor restarts the whole process. Returns whether all ended without a failure; the log has each
 * failure.
 */
export async function runWorkers(config: Config, log: Log, lifecycle: NodeLifecycle): Promise<boolean> {
  if (!isAddressFree(config, log)) return false;
  let shared: SharedBackends;
  try {
    shared = await SharedBackends.open(config, log);
  } catch (error) {
    log.error((error as Error).message);
    return false;
  }
  const storeLoss = watchStoreLoss(shared.lost, lifecycle);
  const workers: WorkerNode[] = [];
  const run = async () => {
    const address = await startAll(config, log, shared, workers);
    const reload = () => workers.forEach((worker) => worker.reload());
    if (address) {
      await Promise.race([
        lifecycle.onListening(address, reload),
        ...workers.map(({ ended }) => ended),
      ]);
    }
    return false;
  };
  const storeFailed = await Promise.race([
    run(),
    shared.failed.then((error) => {
      log.error("the database failed", { error: describeError(error) });
      return true;
    }),
  ]);
  lifecycle.onStopping();
  // Without the database no request in progress can succeed: there is nothing to wait for.
  const stop = (worker: WorkerNode) =>
    storeFailed ? worker.terminate() : worker.stop(config.drainTimeout + STOP_MARGIN_MS);
  const results = await Promise.all(workers.map(stop));
  await shared.close();
  return results.every((ok) => ok) && !storeLoss.happened;
}

/**
 * Returns whether the address is free, and logs it if not. Workers share their port. Another server that
 * shares its port, too, would let them listen, and would get a part of their connections.
 */
function isAddressFree(config: Config, log: Log): boolean {
  try {
    Deno.listen({ hostname: config.host, port: config.port }).close();
    return true;
  } catch (error) {
    logListenFailure(config, log, error);
    return false;
  }
}

/**
 * Starts all workers and adds them to `workers`. Returns their address, or undefined if one does not listen.
 */
async function startAll(
  config: Config,
  log: Log,
  shared: SharedBackends,
  workers: WorkerNode[],
): Promise<Deno.NetAddr | undefined> {
  const start = (port: number) => {
    const worker = new WorkerNode(
      workers.length + 1,
      { ...perWorkerConfig(config), port },
      log,
      shared.lease(),
    );
    workers.push(worker);
    return worker.listening;
  };
  const first = await start(config.port); // port 0 is any free port: the first worker finds it for all
  if (!first) return undefined;
  const others = await Promise.all(Array.from({ length: config.workers - 1 }, () => start(first.port)));
  return others.includes(undefined) ? undefined : first;
}

/** Returns the configuration of one worker, with its share of the bounds of the process. */
function perWorkerConfig(config: Config): Config {
  const share = (whole: number) => Math.ceil(whole / config.workers);
  return {
    ...config,
    maxConnections: share(config.maxConnections),
    maxConnectionsPerAddress: share(config.maxConnectionsPerAddress),
    hashQueue: share(config.hashQueue),
  };
}
