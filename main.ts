/** The chat server's program: reads its configuration, starts, and leaves well when it is asked to. */
import { adminHelp, isAdminCommand, runAdminCommand } from "./lib/admin/commands.ts";
import { ConfigError, help, parseCommand } from "./lib/config/config.ts";
import type { Config } from "./lib/config/options.ts";
import { Log } from "./lib/log.ts";
import { fitToOpenFiles } from "./lib/open_files.ts";
import { cantListen, type Operator, runNode } from "./lib/run_node.ts";
import { Health } from "./lib/server/health.ts";
import { VERSION } from "./lib/version.ts";
import { runWorkers } from "./lib/workers/run_workers.ts";

const EXIT_FAILED = 1; // it could not start, or could not go on
const EXIT_USAGE = 2; // the command line or the environment was wrong

function print(text: string, to: { writeSync(bytes: Uint8Array): number } = Deno.stdout): void {
  to.writeSync(new TextEncoder().encode(text));
}

async function run(asked: Config): Promise<boolean> {
  const log = new Log(asked.logLevel, asked.logFormat);
  const config = fitToOpenFiles(asked, log);
  if (!config) return false;
  const { host, healthPort } = config;
  let health: Health | undefined;
  try {
    if (healthPort > 0) health = new Health(host, healthPort, log); // from now on it says that it isn't ready
  } catch (error) {
    cantListen({ host, port: healthPort }, log, error);
    return false;
  }
  let isStarted = false;
  let reload = () => {}; // until it listens there is nothing to read again
  Deno.addSignalListener("SIGHUP", () => reload()); // without a listener the signal ends the process
  const operator: Operator = {
    listening({ hostname: host, port }, reloadIt) {
      isStarted = true;
      const left = askedToLeave(); // before anybody hears that it listens, and asks
      reload = reloadIt;
      if (health) health.ready = true;
      log.info("listening", { host, port, workers: config.workers > 1 ? config.workers : undefined });
      return left;
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

async function checkUpgrade(config: Config): Promise<boolean> {
  const { mysqlAccess } = await import("./lib/ports.ts");
  const { describeUpgrade } = await import("./lib/store/mysql/upgrade_check.ts");
  try {
    const { lines, isPossible } = await describeUpgrade(config.mysql, await mysqlAccess(config));
    print(lines.map((line) => `${line}\n`).join(""));
    return isPossible;
  } catch (error) {
    print(`${(error as Error).message}\n`, Deno.stderr);
    return false;
  }
}

/** Fulfilled at the first signal to leave; at the second, the program ends at once. */
function askedToLeave(): Promise<void> {
  return new Promise((resolve) => {
    let asked = 0;
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      Deno.addSignalListener(signal, () => ++asked === 1 ? resolve() : Deno.exit(EXIT_FAILED));
    }
  });
}

try {
  if (isAdminCommand(Deno.args[0])) {
    print(`${await runAdminCommand(Deno.args)}\n`);
    Deno.exit(0);
  }
  const command = parseCommand(Deno.args, (name) => Deno.env.get(name));
  if ("help" in command) print(`${help()}\nOther commands:\n${adminHelp()}`);
  else if ("version" in command) print(`${VERSION}\n`);
  else {
    const isWell = "run" in command ? await run(command.run) : await checkUpgrade(command.upgradeCheck);
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
