/** Several nodes in one process, each on a thread of its own: the system deals out the port's connections to them. */
import type { Config } from "../config/options.ts";
import { describe, type Log } from "../log.ts";
import { cantListen, type Operator } from "../node/run_node.ts";
import { Shared } from "./shared_backends.ts";
import { WorkerNode } from "./worker_node.ts";

/** Milliseconds beyond the time to drain after which a worker is not waited for: a slow store may hold it up. */
export const LEAVE_SLACK = 15_000;

/**
 * Runs the configured number of nodes until they are told to leave, or one can't go on: then all leave, since a
 * process that is half there is of no use. Gives back whether all went well; if not, the log says what didn't.
 */
export async function runWorkers(config: Config, log: Log, operator: Operator): Promise<boolean> {
  if (!isFree(config, log)) return false;
  let shared: Shared;
  try {
    shared = await Shared.open(config, log);
  } catch (error) {
    log.error((error as Error).message);
    return false;
  }
  let isLost = false;
  void shared.lost.then(() => {
    isLost = true;
    operator.leaving(); // clients stay connected, but new ones are better sent elsewhere
  });
  const workers: WorkerNode[] = [];
  const run = async () => {
    const address = await startAll(config, log, shared, workers);
    const reload = () => workers.forEach((worker) => worker.reload());
    if (address) {
      await Promise.race([
        operator.listening(address, reload),
        ...workers.map(({ ended }) => ended),
      ]);
    }
    return false;
  };
  const isStranded = await Promise.race([
    run(),
    shared.failed.then((error) => {
      log.error("the database failed", { why: describe(error) });
      return true;
    }),
  ]);
  operator.leaving();
  // Without the database nothing that is under way can be carried out any more: there is nothing to wait for.
  const end = (worker: WorkerNode) =>
    isStranded ? worker.terminate() : worker.leave(config.drainTimeout + LEAVE_SLACK);
  const ends = await Promise.all(workers.map(end));
  await shared.close();
  return ends.every((isWell) => isWell) && !isLost;
}

/**
 * Whether the address is free. Another server that shares its port, as ours do among themselves, would let the
 * workers in, and take half of their connections.
 */
function isFree(config: Config, log: Log): boolean {
  try {
    Deno.listen({ hostname: config.host, port: config.port }).close();
    return true;
  } catch (error) {
    cantListen(config, log, error);
    return false;
  }
}

/** Starts all workers, adding them to `workers`; gives back where they listen, or undefined if one doesn't. */
async function startAll(
  config: Config,
  log: Log,
  shared: Shared,
  workers: WorkerNode[],
): Promise<Deno.NetAddr | undefined> {
  const start = (port: number) => {
    const worker = new WorkerNode(workers.length + 1, { ...shareOf(config), port }, log, shared.lend());
    workers.push(worker);
    return worker.listening;
  };
  const first = await start(config.port); // before the others: it finds the port where any will do
  if (!first) return undefined;
  const others = await Promise.all(Array.from({ length: config.workers - 1 }, () => start(first.port)));
  return others.includes(undefined) ? undefined : first;
}

/** One worker's configuration: what is bounded for the process is divided. */
function shareOf(config: Config): Config {
  const share = (whole: number) => Math.ceil(whole / config.workers);
  return {
    ...config,
    maxConnections: share(config.maxConnections),
    maxConnectionsPerAddress: share(config.maxConnectionsPerAddress),
    hashQueue: share(config.hashQueue),
  };
}
