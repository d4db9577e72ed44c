/**
 * The chat server's program: reads the configuration, runs the nodes, and stops them in order at a signal.
 */
import { adminHelp, isAdminCommand, runAdminCommand } from "./lib/admin/commands.ts";
import { ConfigError, parseCommand } from "./lib/config/config.ts";
import { processEnvironment, type Warning } from "./lib/config/environment.ts";
import { help, helpWidth } from "./lib/config/help.ts";
import type { Config } from "./lib/config/options.ts";
import { Log } from "./lib/log.ts";
import { capConnections } from "./lib/node/open_files.ts";
import { dropWritePermission } from "./lib/node/permissions.ts";
import { warningLogger } from "./lib/node/backends.ts";
import { logListenFailure, type NodeLifecycle, runNode } from "./lib/node/run_node.ts";
import { HealthServer } from "./lib/server/net/health.ts";
import { mysqlAccess } from "./lib/node/services.ts";
import { isAtTerminal, StopSignals } from "./lib/node/stop_signals.ts";
import { VERSION } from "./lib/version.ts";
import { runWorkers, STOP_MARGIN_MS } from "./lib/workers/run_workers.ts";

const EXIT_FAILED = 1; // the server could not start, or has failed
const EXIT_USAGE = 2; // the command line or the environment is invalid

function print(text: string, output: { writeSync(bytes: Uint8Array): number } = Deno.stdout): void {
  output.writeSync(new TextEncoder().encode(text));
}

async function run(requested: Config, warnings: readonly Warning[]): Promise<boolean> {
  const log = new Log(requested.logLevel, requested.logFormat);
  const isTerminal = isAtTerminal();
  const graceMs = requested.drainTimeout + STOP_MARGIN_MS;
  const signals = new StopSignals(log, {
    graceMs,
    isTerminal,
    exit: Deno.exit,
    now: () => performance.now(),
  });
  signals.listen();
  warnings.forEach(warningLogger(log));
  if (!isTerminal && isUnderNpm()) {
    log.warn(
      "started by npm or npx, which do not forward signals: SIGTERM to them does not stop this process",
      {
        hint: "start it with: exec deno run …",
      },
    );
  }
  const config = capConnections(requested, log);
  if (!config) return false;
  if (config.mysql) dropWritePermission(); // before any package is loaded, and before other threads start
  const { healthPort } = config;
  const healthHost = config.healthHost || config.host;
  let health: HealthServer | undefined;
  try {
    if (healthPort > 0) health = new HealthServer(healthHost, healthPort, log); // not ready before `listening`
  } catch (error) {
    logListenFailure({ host: healthHost, port: healthPort }, log, error);
    return false;
  }
  let isStarted = false;
  let reload = () => {}; // before the server listens there is no certificate to reload
  Deno.addSignalListener("SIGHUP", () => { // without a listener the signal ends the process
    if (!config.tlsCert) log.info("nothing to reload: there is no TLS certificate", { signal: "SIGHUP" });
    reload();
  });
  const lifecycle: NodeLifecycle = {
    onListening({ hostname: host, port }, onReload) {
      isStarted = true;
      signals.markStarted();
      reload = onReload;
      if (health) health.ready = true;
      log.info("listening", { host, port, workers: config.workers > 1 ? config.workers : undefined });
      return signals.stopRequested;
    },
    onStopping() {
      if (health) health.ready = false;
    },
  };
  const ok = config.workers > 1
    ? await runWorkers(config, log, lifecycle)
    : await runNode(config, log, {}, lifecycle);
  await health?.[Symbol.asyncDispose]();
  if (isStarted) log.info("stopped");
  return ok;
}

async function checkUpgrade(config: Config, warnings: readonly Warning[]): Promise<boolean> {
  const log = new Log(config.logLevel, config.logFormat);
  const warn = warningLogger(log);
  warnings.forEach(warn);
  const { describeUpgrade } = await import("./lib/store/mysql/upgrade_check.ts");
  try {
    const access = await mysqlAccess(config, warn);
    const { lines, isPossible } = await describeUpgrade(config.mysql, access);
    print(lines.map((line) => `${line}\n`).join(""));
    return isPossible;
  } catch (error) {
    print(`${(error as Error).message}\n`, Deno.stderr);
    return false;
  }
}

/** Returns whether npm or npx has started this process, through a shell that does not forward signals. */
function isUnderNpm(): boolean {
  return processEnvironment.names().includes("npm_command");
}

try {
  if (isAdminCommand(Deno.args[0])) {
    const warn = ({ event, fields }: Warning) =>
      print(`Warning: ${event}: ${Object.values(fields).join("; ")}\n`, Deno.stderr);
    print(`${await runAdminCommand(Deno.args, processEnvironment, warn)}\n`);
    Deno.exit(0);
  }
  const command = parseCommand(Deno.args, processEnvironment);
  if ("help" in command) {
    const width = helpWidth();
    print(help(command.help, width, adminHelp(width)));
  } else if ("version" in command) print(`${VERSION}\n`);
  else {
    const { warnings } = command;
    const ok = "run" in command
      ? await run(command.run, warnings)
      : await checkUpgrade(command.upgradeCheck, warnings);
    Deno.exit(ok ? 0 : EXIT_FAILED);
  }
} catch (error) {
  if (isAdminCommand(Deno.args[0]) && !(error instanceof ConfigError)) {
    print(`${(error as Error).message}\n`, Deno.stderr);
    Deno.exit(EXIT_FAILED);
  }
  if (!(error instanceof ConfigError)) throw error;
  print(`${error.message}\n`, Deno.stderr);
  Deno.exit(EXIT_USAGE);
}
