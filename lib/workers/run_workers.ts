/** Several nodes in one process, each on a thread of its own: the system deals out the port's connections to them. */
import type { Config } from "../config/options.ts";
import { describeError, type Log } from "../log.ts";
import { logListenFailure, type NodeLifecycle } from "../node/run_node.ts";
import { SharedBackends } from "./shared_backends.ts";
import { WorkerNode } from "./worker_node.ts";

/** Milliseconds beyond the time to drain after which a worker is not waited for: a slow store may hold it up. */
export const STOP_MARGIN_MS = 15_000;

/**
 * Runs the configured number of nodes until they are told to leave, or one can't go on: then all leave, since a
 * process that is half there is of no use. Gives back whether all went well; if not, the log says what didn't.
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
  let isStoreLost = false;
  void shared.lost.then(() => {
    isStoreLost = true;
    lifecycle.onStopping(); // clients stay connected, but new ones are better sent elsewhere
  });
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
      log.error("the database failed", { why: describeError(error) });
      return true;
    }),
  ]);
  lifecycle.onStopping();
  // Without the database nothing that is under way can be carried out any more: there is nothing to wait for.
  const stop = (worker: WorkerNode) =>
    storeFailed ? worker.terminate() : worker.stop(config.drainTimeout + STOP_MARGIN_MS);
  const results = await Promise.all(workers.map(stop));
  await shared.close();
  return results.every((ok) => ok) && !isStoreLost;
}

/**
 * Whether the address is free. Another server that shares its port, as ours do among themselves, would let the
 * workers in, and take half of their connections.
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

/** Starts all workers, adding them to `workers`; gives back where they listen, or undefined if one doesn't. */
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
  const first = await start(config.port); // before the others: it finds the port where any will do
  if (!first) return undefined;
  const others = await Promise.all(Array.from({ length: config.workers - 1 }, () => start(first.port)));
  return others.includes(undefined) ? undefined : first;
}

/** One worker's configuration: what is bounded for the process is divided. */
function perWorkerConfig(config: Config): Config {
  const share = (whole: number) => Math.ceil(whole / config.workers);
  return {
    ...config,
    maxConnections: share(config.maxConnections),
    maxConnectionsPerAddress: share(config.maxConnectionsPerAddress),
    hashQueue: share(config.hashQueue),
  };
}
