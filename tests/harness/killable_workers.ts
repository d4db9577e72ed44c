/**
 * A preload of a server's process: SIGUSR1 ends the threads named in the environment variable MORTAL by an
 * uncaught error.
 */
const name = Deno.env.get("MORTAL");

class KillableWorker extends Worker {
  constructor(specifier: string | URL, options?: WorkerOptions) {
    super(specifier, options);
    if (options?.name === name) Deno.addSignalListener("SIGUSR1", () => this.postMessage(null));
  }
}

globalThis.Worker = KillableWorker;
