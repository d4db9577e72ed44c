/** The thread of a worker: one node, which listens on the same port as the other workers' nodes. */
import { Log } from "../log.ts";
import { runNode } from "../node/run_node.ts";
import type { StartOptions, WorkerCommand, WorkerEvent } from "./messages.ts";

/** The part of the global scope of a worker that this file uses. */
interface Scope {
  onmessage: ((event: MessageEvent<WorkerCommand>) => void) | null;
  postMessage(event: WorkerEvent): void;
}

const scope = globalThis as unknown as Scope;
const stopping = Promise.withResolvers<void>();
let reload = () => {}; // before it listens there is no certificate to read again

scope.onmessage = ({ data }) => {
  if (data.kind === "start") void run(data.start);
  else if (data.kind === "reload") reload();
  else stopping.resolve();
};

async function run({ number, config, sharedPorts }: StartOptions): Promise<void> {
  const log = new Log(config.logLevel, config.logFormat, undefined, { worker: number });
  const ok = await runNode(config, log, sharedPorts, {
    onListening(address, onReload) {
      reload = onReload;
      scope.postMessage({ kind: "listening", address });
      return stopping.promise;
    },
    onStopping() {}, // the main thread watches the store itself
  });
  scope.postMessage({ kind: "ended", ok });
}
