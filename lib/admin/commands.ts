/** The commands of main.ts that do something to the data and end: backup, restore and renew-epoch. */
import { parseArgs } from "@std/cli/parse-args";
import { ConfigError } from "../config/config.ts";

/** A command: its options, each of which it needs, and its work, which gives back the line to print. */
interface Command {
  readonly options: Readonly<Record<string, string>>;
  readonly words: string;
  run(values: Readonly<Record<string, string>>): Promise<string>;
}

const commands: Readonly<Record<string, Command>> = {
  backup: {
    options: { db: "FILE", to: "COPY" },
    words: "copies the embedded database, also while a server uses it",
    async run({ db, to }) {
      const { backup } = await import("../store/sqlite/backup.ts");
      await backup(db!, to!);
      return `copied ${db} to ${to}`;
    },
  },
  restore: {
    options: { from: "COPY", db: "FILE" },
    words: "puts a backup in the place of the embedded database, which no server may be using",
    async run({ from, db }) {
      const { restore } = await import("../store/sqlite/backup.ts");
      const { epoch, replaced } = await restore(from!, db!);
      const kept = replaced === undefined ? "" : `; the database before it is ${replaced}`;
      return `restored ${db} from ${from}, epoch ${epoch}${kept}`;
    },
  },
  "renew-epoch": {
    options: { mysql: "URL" },
    words: "to be run when a backup was restored into MySQL, or a replica promoted that may lack messages",
    async run({ mysql }) {
      const { renewEpochAt } = await import("../store/mysql/renew_epoch.ts");
      return `the epoch is ${await renewEpochAt(
        mysql!,
      )} now; running nodes end their sessions within seconds`;
    },
  },
};

/** Whether the command line, `main.ts NAME …`, names one of these commands. */
export function isAdminCommand(name: string | undefined): name is string {
  return name !== undefined && Object.hasOwn(commands, name);
}

/**
 * Runs the command that the arguments begin with; gives back the line to print. Rejects with a {@link ConfigError} if an
 * option is missing or unknown, and with an Error of one line if the work cannot be done.
 */
export async function runAdminCommand([name, ...args]: readonly string[]): Promise<string> {
  const { options, run } = commands[name!]!;
  const usage = `usage: main.ts ${usageOf(name!)}`;
  const values = parseArgs(args, {
    string: [...Object.keys(options), "_"],
    unknown(arg) {
      throw new ConfigError(`Cannot ${name}: unknown argument ${arg.split("=")[0]}; ${usage}`);
    },
  }) as unknown as Record<string, string | undefined>;
  for (const option of Object.keys(options)) {
    if (!values[option]) throw new ConfigError(`Cannot ${name}: --${option} is missing; ${usage}`);
  }
  return await run(values as Record<string, string>);
}

/** The part of `--help` about these commands. */
export function adminHelp(): string {
  return Object.entries(commands).map(([name, { words }]) => `  main.ts ${usageOf(name)}\n      ${words}\n`)
    .join("");
}

function usageOf(name: string): string {
  const { options } = commands[name]!;
  return [name, ...Object.entries(options).map(([option, value]) => `--${option} ${value}`)].join(" ");
}
