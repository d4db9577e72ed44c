/** The chat server's program: reads its configuration, starts, and leaves well when it is asked to. */
import { adminHelp, isAdminCommand, runAdminCommand } from "./lib/admin/commands.ts";
import { ConfigError, help, parseCommand } from "./lib/config/config.ts";
import { processEnvironment, type Warning } from "./lib/config/environment.ts";
import type { Config } from "./lib/config/options.ts";
import { Log } from "./lib/log.ts";
import { fitToOpenFiles } from "./lib/node/open_files.ts";
import { dropWritePermission } from "./lib/node/permissions.ts";
import { warnIn } from "./lib/node/backends.ts";
import { cantListen, type Operator, runNode } from "./lib/node/run_node.ts";
import { Health } from "./lib/server/net/health.ts";
import { mysqlAccess } from "./lib/node/services.ts";
import { isAtTerminal, StopSignals } from "./lib/node/stop_signals.ts";
import { VERSION } from "./lib/version.ts";
import { LEAVE_SLACK, runWorkers } from "./lib/workers/run_workers.ts";

const EXIT_FAILED = 1; // it could not start, or could not go on
const EXIT_USAGE = 2; // the command line or the environment was wrong

function print(text: string, to: { writeSync(bytes: Uint8Array): number } = Deno.stdout): void {
  to.writeSync(new TextEncoder().encode(text));
}

async function run(asked: Config, warnings: readonly Warning[]): Promise<boolean> {
  const log = new Log(asked.logLevel, asked.logFormat);
  const isTerminal = isAtTerminal();
  const graceMs = asked.drainTimeout + LEAVE_SLACK;
  const signals = new StopSignals(log, {
    graceMs,
    isTerminal,
    exit: Deno.exit,
    now: () => performance.now(),
  });
  signals.listen();
  warnings.forEach(warnIn(log));
  if (!isTerminal && isUnderNpm()) {
    log.warn("started by npm or npx, which pass no signals on: SIGTERM would leave this process behind", {
      hint: "start it with: exec deno run …",
    });
  }
  const config = fitToOpenFiles(asked, log);
  if (!config) return false;
  if (config.mysql) dropWritePermission(); // before any package is loaded, and before other threads begin
  const { healthPort } = config;
  const healthHost = config.healthHost || config.host;
  let health: Health | undefined;
  try {
    if (healthPort > 0) health = new Health(healthHost, healthPort, log); // from now on it says that it isn't ready
  } catch (error) {
    cantListen({ host: healthHost, port: healthPort }, log, error);
    return false;
  }
  let isStarted = false;
  let reload = () => {}; // until it listens there is nothing to read again
  Deno.addSignalListener("SIGHUP", () => { // without a listener the signal ends the process
    if (!config.tlsCert) log.info("nothing to read again: there is no TLS certificate", { signal: "SIGHUP" });
    reload();
  });
  const operator: Operator = {
    listening({ hostname: host, port }, reloadIt) {
      isStarted = true;
      signals.started();
      reload = reloadIt;
      if (health) health.ready = true;
      log.info("listening", { host, port, workers: config.workers > 1 ? config.workers : undefined });
      return signals.asked;
    },
    leaving() {
      if (health) health.ready = false;
    },
  };
  const isWell = config.workers > 1
    ? await runWorkers(config, log, operator)
    : await runNode(config, log, {}, operator);
  await health?.[Symbol.asyncDispose]();
  if (isStarted) log.info("stopped");
  return isWell;
}

async function checkUpgrade(config: Config, warnings: readonly Warning[]): Promise<boolean> {
  const log = new Log(config.logLevel, config.logFormat);
  const warn = warnIn(log);
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

/** Whether npm, npx included, has started this process, by way of a shell that passes no signals on. */
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
  if ("help" in command) print(`${help()}\nOther commands:\n${adminHelp()}`);
  else if ("version" in command) print(`${VERSION}\n`);
  else {
    const { warnings } = command;
    const isWell = "run" in command
      ? await run(command.run, warnings)
      : await checkUpgrade(command.upgradeCheck, warnings);
    Deno.exit(isWell ? 0 : EXIT_FAILED);
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
