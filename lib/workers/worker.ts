/** A worker's thread: one node, which listens on the same port as those of the other workers. */
import { Log } from "../log.ts";
import { runNode } from "../node/run_node.ts";
import type { Order, Report, Start } from "./messages.ts";

/** The part of a worker's global scope that is used here. */
interface Scope {
  onmessage: ((event: MessageEvent<Order>) => void) | null;
  postMessage(report: Report): void;
}

const scope = globalThis as unknown as Scope;
const leaving = Promise.withResolvers<void>();
let reload = () => {}; // until it listens there is nothing to read again

scope.onmessage = ({ data }) => {
  if (data.kind === "start") void run(data.start);
  else if (data.kind === "reload") reload();
  else leaving.resolve();
};

async function run({ number, config, lent }: Start): Promise<void> {
  const log = new Log(config.logLevel, config.logFormat, undefined, { worker: number });
  const isWell = await runNode(config, log, lent, {
    listening(address, reloadIt) {
      reload = reloadIt;
      scope.postMessage({ kind: "listening", address });
      return leaving.promise;
    },
    leaving() {}, // the main thread knows
  });
  scope.postMessage({ kind: "ended", isWell });
}
