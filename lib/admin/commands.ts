/** The commands of main.ts that work on the data and end: backup, restore and renew-epoch. */
import { parseArgs } from "@std/cli/parse-args";
import { checkPassword, ConfigError, hasPassword, passwordWarning } from "../config/config.ts";
import type { Option } from "../config/declare.ts";
import { type Environment, readVariables } from "../config/environment.ts";
import { definition } from "../config/help.ts";
import { flagOf, options, variableOf } from "../config/options.ts";
import { mysqlAccess, type Warn } from "../node/services.ts";

/**
 * An argument of a command. If the server has an option of the same name, its variable also gives the value.
 */
interface Argument {
  /** The name of the value in a usage line. Without it, the argument is a switch without a value. */
  readonly placeholder?: string;
  readonly isOptional?: true;
}

/** The values of a command's arguments by their names in the code. "" stands for a missing one. */
type Values<Name extends string = string> = Readonly<Record<Name, string>>;

/** A command of main.ts. */
interface Command {
  readonly args: Readonly<Record<string, Argument>>;
  readonly description: string;
  /** Does the work, and returns the line to print. */
  run(values: Values, warn: Warn): Promise<string>;
}

/** Declares a command, with the names of its arguments in the type. */
function command<Name extends string>(
  args: Readonly<Record<Name, Argument>>,
  description: string,
  run: (values: Values<Name>, warn: Warn) => Promise<string>,
): Command {
  return { args, description, run };
}

const FILE = { placeholder: "FILE" };
const COPY = { placeholder: "COPY" };

const commands: Readonly<Record<string, Command>> = {
  backup: command(
    { db: FILE, to: COPY },
    "Copies the embedded database, also while a server uses it.",
    async ({ db, to }) => {
      const { backup } = await import("../store/sqlite/backup.ts");
      await backup(db, to);
      return `copied ${db} to ${to}`;
    },
  ),
  restore: command(
    { from: COPY, db: FILE },
    "Replaces the embedded database with a backup. Stop the server first.",
    async ({ from, db }) => {
      const { restore } = await import("../store/sqlite/backup.ts");
      const { epoch, replaced } = await restore(from, db);
      const former = replaced === undefined ? "" : `; the former database is now ${replaced}`;
      return `restored ${db} from ${from}, epoch ${epoch}${former}`;
    },
  ),
  "renew-epoch": command(
    {
      mysql: { placeholder: "URL" },
      mysqlCa: { ...FILE, isOptional: true },
      mysqlPasswordFile: { ...FILE, isOptional: true },
      newDeployment: { isOptional: true },
    },
    "Renews the epoch of MySQL after the restore of a backup, or after the promotion of a replica that may " +
      "lack messages. With --new-deployment, also separates a copy of a database from the original: stop " +
      "the nodes of the copy first.",
    async ({ mysql, mysqlCa, mysqlPasswordFile, newDeployment }, warn) => {
      checkPassword("mysql", mysql, mysqlPasswordFile);
      const access = await mysqlAccess({ mysqlCa, mysqlPasswordFile, singleWriter: "yes" }, warn);
      const { renewEpochAt } = await import("../store/mysql/renew_epoch.ts");
      const { epoch, deployment } = await renewEpochAt(mysql, access, newDeployment !== "");
      return newDeployment === ""
        ? `the epoch is ${epoch} now; running nodes close their sessions within seconds`
        : `the deployment is ${deployment} and the epoch ${epoch} now; ` +
          "running nodes of this database stop within seconds";
    },
  ),
};

/** Returns whether the command line, `main.ts NAME …`, names one of these commands. */
export function isAdminCommand(name: string | undefined): name is string {
  return name !== undefined && Object.hasOwn(commands, name);
}

/**
 * Runs the command that the arguments begin with, and returns the line to print. Arguments beat the
 * environment. Rejects with a {@link ConfigError} if an option is missing, invalid or unknown, and with an
 * Error of one line if the work fails.
 */
export async function runAdminCommand(
  [name, ...rawArgs]: readonly string[],
  env: Environment,
  warn: Warn,
): Promise<string> {
  const { args, run } = commands[name!]!;
  const usage = `usage: main.ts ${usageOf(name!)}`;
  const names = Object.entries(args);
  const flags = parseArgs([...rawArgs], {
    string: [...names.filter(([, { placeholder }]) => placeholder).map(([arg]) => flagOf(arg)), "_"],
    boolean: names.filter(([, { placeholder }]) => !placeholder).map(([arg]) => flagOf(arg)),
    unknown(arg) {
      throw new ConfigError(`Cannot run ${name}: unknown argument ${arg.split("=")[0]}; ${usage}`);
    },
  }) as Readonly<Record<string, string | boolean | undefined>>;
  if (hasPassword(String(flags.mysql ?? ""))) warn(passwordWarning("mysql"));
  const { values: variables, warnings } = readVariables(
    env,
    names.map(([arg]) => arg).filter(isOption).map(variableOf),
  );
  warnings.forEach(warn);
  const values: Record<string, string> = {};
  for (const [arg, { isOptional }] of names) {
    const flag = flags[flagOf(arg)];
    const text = flag === true ? "yes" : flag || variables.get(variableOf(arg)) || "";
    values[arg] = text === "" ? "" : validated(`Cannot run ${name}: --${flagOf(arg)}`, arg, text);
    if (!isOptional && !values[arg]) {
      throw new ConfigError(`Cannot run ${name}: --${flagOf(arg)} is missing; ${usage}`);
    }
  }
  return await run(values, warn);
}

/** Returns whether the server also has an option of this name. */
function isOption(arg: string): arg is keyof typeof options {
  return Object.hasOwn(options, arg);
}

/**
 * Returns the value as the server reads it. Throws a {@link ConfigError} without the value, which may contain
 * a password.
 */
function validated(prefix: string, arg: string, text: string): string {
  if (!isOption(arg)) return text;
  try {
    return (options[arg] as Option<string>).parse(text);
  } catch (error) {
    throw new ConfigError(`${prefix} ${(error as Error).message}`, { cause: error });
  }
}

/** Returns the part of `--help` about these commands, in lines of at most `width` columns. */
export function adminHelp(width: number): string {
  return Object.entries(commands)
    .map(([name, { description }]) => `${definition(`main.ts ${usageOf(name)}`, description, width)}\n`)
    .join("");
}

function usageOf(name: string): string {
  const args = Object.entries(commands[name]!.args).map(([arg, { placeholder, isOptional }]) => {
    const usage = `--${flagOf(arg)}${placeholder ? ` ${placeholder}` : ""}`;
    return isOptional ? `[${usage}]` : usage;
  });
  return [name, ...args].join(" ");
}
