/** The chat server's program: reads its configuration, starts, and leaves well when it is asked to. */
import { LocalHub } from "./lib/bus/local.ts";
import { ConfigError, help, parseCommand } from "./lib/config/config.ts";
import type { Config } from "./lib/config/options.ts";
import { describe, Log } from "./lib/log.ts";
import { Server } from "./lib/server/server.ts";
import { SqliteStore } from "./lib/store/sqlite/sqlite_store.ts";
import { VERSION } from "./lib/version.ts";

const EXIT_FAILED = 1; // it could not start, or could not go on
const EXIT_USAGE = 2; // the command line or the environment was wrong

function print(text: string, to: { writeSync(bytes: Uint8Array): number } = Deno.stdout): void {
  to.writeSync(new TextEncoder().encode(text));
}

async function run(config: Config): Promise<number> {
  const format = config.logFormat === "auto"
    ? (Deno.stderr.isTerminal() ? "text" : "json")
    : config.logFormat;
  const log = new Log(config.logLevel, format);
  let store: SqliteStore;
  try {
    store = await SqliteStore.open(config.db, {
      friendsPerUser: config.maxFriends,
      groupsPerUser: config.maxGroups,
      membersPerGroup: config.maxMembers,
    });
  } catch (error) {
    log.error((error as Error).message);
    return EXIT_FAILED;
  }
  const bus = new LocalHub().attach();
  let server: Server;
  try {
    server = await Server.start({ config, log, store, bus, now: Date.now });
  } catch (error) {
    log.error(`can't listen on ${config.host}:${config.port}`, { why: describe(error) });
    await store.close();
    return EXIT_FAILED;
  }
  const stop = Promise.withResolvers<number>();
  let asked = 0;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => ++asked === 1 ? stop.resolve(0) : Deno.exit(EXIT_FAILED)); // twice: at once
  }
  void store.failed.then((error) => {
    log.error("the database failed", { why: describe(error) });
    stop.resolve(EXIT_FAILED);
  });
  const code = await stop.promise;
  await server.drain();
  await bus.close();
  await store.close();
  log.info("stopped");
  return code;
}

try {
  const command = parseCommand(Deno.args, (name) => Deno.env.get(name));
  if ("help" in command) print(help());
  else if ("version" in command) print(`${VERSION}\n`);
  else Deno.exit(await run(command.run));
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  print(`${error.message}\n`, Deno.stderr);
  Deno.exit(EXIT_USAGE);
}
