/**
 * Preloaded into a server's process: SIGUSR1 makes its threads of the name in the environment's MORTAL die, by an
 * error that nothing catches.
 */
const name = Deno.env.get("MORTAL");

class KillableWorker extends Worker {
  constructor(specifier: string | URL, options?: WorkerOptions) {
    super(specifier, options);
    if (options?.name === name) Deno.addSignalListener("SIGUSR1", () => this.postMessage(null));
  }
}

globalThis.Worker = KillableWorker;
