/** From a command line and an environment to a {@link Config}; and back to the words that explain it. */
import { parseArgs } from "@std/cli/parse-args";
import type { Option } from "./declare.ts";
import { type Environment, readVariables, type Warning } from "./environment.ts";
import { type Config, flagOf, options, variableOf } from "./options.ts";

/** What is wrong with the configuration, in one line for the user. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** What the command line asks for; where a configuration belongs to it, with what is worth a warning there. */
export type Command =
  | { run: Config; warnings: readonly Warning[] }
  | { upgradeCheck: Config; warnings: readonly Warning[] }
  | { help: true }
  | { version: true };

type Value = string | number;

const optionEntries = Object.entries(options) as [string, Option<Value>][];

/** The configuration when nothing is said about it. */
export function defaults(): Config {
  return Object.fromEntries(optionEntries.map(([name, option]) => [name, option.default])) as Config;
}

/**
 * Reads the server's arguments, `[HOST] [PORT] [options]`. Flags beat positional arguments, these beat the
 * environment, and that beats the defaults. Throws a {@link ConfigError}.
 */
export function parseCommand(args: readonly string[], env: Environment): Command {
  const bare = new Set(optionEntries.filter(([, { bare }]) => bare).map(([name]) => `--${flagOf(name)}`));
  const flags = parseArgs(args.map((arg) => bare.has(arg) ? `${arg}=yes` : arg), {
    string: [...optionEntries.map(([name]) => flagOf(name)), "_"],
    boolean: ["help", "version", "upgrade-check"],
    alias: { h: "help" },
    unknown(arg, key) {
      if (key !== undefined) throw new ConfigError(`unknown option ${arg.split("=")[0]}; --help lists them`);
    },
  });
  if (flags.help) return { help: true };
  if (flags.version) return { version: true };

  const values: Record<string, Value> = { ...defaults() };
  const set = (name: string, value: unknown, source: string) => {
    const option = options[name as keyof typeof options] as Option<Value>;
    try {
      values[name] = option.parse(String(value));
    } catch (error) {
      const shownValue = option.secret ? "" : `, not "${value}"`;
      throw new ConfigError(`${source} ${(error as Error).message}${shownValue}`, { cause: error });
    }
  };
  const positionals = flags._.map(String);
  if (positionals.length > 2) {
    throw new ConfigError(`too many arguments: ${positionals.join(" ")}; usage: main.ts [HOST] [PORT]`);
  }
  const port = positionals.pop();
  const byPosition: Readonly<Record<string, string | undefined>> = { port, host: positionals[0] };
  // A variable that the command line overrides may be anything.
  const unset = optionEntries.map(([name]) => name).filter((name) =>
    byPosition[name] === undefined && flags[flagOf(name)] === undefined
  );
  const { values: variables, warnings: found } = readVariables(env, unset.map(variableOf));
  const warnings = [...found];
  for (const name of unset) {
    const value = variables.get(variableOf(name));
    if (value !== undefined) set(name, value, variableOf(name));
  }
  if (port !== undefined) set("port", port, "the port");
  if (positionals[0] !== undefined) set("host", positionals[0], "the host");
  for (const [name] of optionEntries) {
    const value = flags[flagOf(name)];
    if (value !== undefined) set(name, value, `--${flagOf(name)}`);
  }
  const config = values as Config;
  validateCombination(config);
  warnings.push(
    ...SECRET_OPTIONS.filter((name) => hasPassword(String(flags[name] ?? ""))).map(passwordWarning),
  );
  if (!flags["upgrade-check"]) return { run: config, warnings };
  if (!config.mysql) throw new ConfigError("--upgrade-check needs --mysql");
  return { upgradeCheck: config, warnings };
}

/** Options whose URL can have a password in it. */
const SECRET_OPTIONS = ["mysql", "redis"] as const;

/** Whether one of the URLs with commas between has a password in it. */
export function hasPassword(urls: string): boolean {
  return urls.split(",").some((url) => URL.canParse(url) && new URL(url).password !== "");
}

/** The warning of a password on the command line. `name`: the option's. */
export function passwordWarning(name: typeof SECRET_OPTIONS[number]): Warning {
  return {
    event: "a password is on the command line, where all users of this machine can read it",
    fields: {
      option: `--${name}`,
      hint: `give it in the environment, as ${variableOf(name)}, or in a file, by --${name}-password-file`,
    },
  };
}

/** What can't be seen in one option alone. */
function validateCombination(config: Config): void {
  const { mysql, mysqlCa, mysqlPasswordFile, singleWriter } = config;
  const { redis, redisPasswordFile, tlsCert, tlsKey } = config;
  if (redis && !mysql) {
    throw new ConfigError("--redis needs --mysql: nodes that reach each other must share one store");
  }
  if (mysqlCa && !mysql) throw new ConfigError("--mysql-ca needs --mysql");
  checkPassword("mysql", mysql, mysqlPasswordFile);
  checkPassword("redis", redis, redisPasswordFile);
  if (singleWriter === "yes" && !mysql) throw new ConfigError("--single-writer needs --mysql");
  if (config.proxyRequired === "yes" && !config.trustedProxies) {
    throw new ConfigError("--proxy-required needs --trusted-proxies: a header is taken from these alone");
  }
  if (config.healthHost && !config.healthPort) throw new ConfigError("--health-host needs --health-port");
  if (!tlsCert !== !tlsKey) {
    throw new ConfigError(tlsCert ? "--tls-cert needs --tls-key" : "--tls-key needs --tls-cert");
  }
}

/** Refuses a password's file without an address, or beside a password in the address. Throws a {@link ConfigError}. */
export function checkPassword(name: typeof SECRET_OPTIONS[number], urls: string, passwordFile: string): void {
  if (!passwordFile) return;
  if (!urls) throw new ConfigError(`--${name}-password-file needs --${name}`);
  if (hasPassword(urls)) {
    throw new ConfigError(
      `the URL of --${name} has a password in it, and --${name}-password-file names another one: leave one of them away`,
    );
  }
}

/** How an option is written on a command line. */
function usage(name: string, { bare, placeholder }: Option<Value>): string {
  return `--${flagOf(name)}${bare ? "" : " "}${placeholder}`;
}

/** The text of `--help`. */
export function help(): string {
  const rows = optionEntries.map(([name, option]) => ({
    flag: usage(name, option),
    description: `${option.description} (default ${option.format(option.default)})`,
  }));
  const width = Math.max(...rows.map(({ flag }) => flag.length));
  return [
    "usage: main.ts [HOST] [PORT] [options]",
    "",
    "Starts a chat server. Each option can also be set in the environment: --login-timeout as CHAT_LOGIN_TIMEOUT.",
    "A variable that is empty counts as not set.",
    "",
    ...rows.map(({ flag, description }) => `  ${flag.padEnd(width)}  ${description}`),
    `  ${
      "--upgrade-check".padEnd(width)
    }  says what would change in the database of --mysql, changes nothing, and ends`,
    `  ${"--help, -h".padEnd(width)}  prints this`,
    `  ${"--version".padEnd(width)}  prints the version`,
    "",
  ].join("\n");
}

/** The options as a Markdown table, for the README. */
export function optionsTable(): string {
  const rows = optionEntries.map(([name, option]) =>
    `| \`${usage(name, option).replaceAll("|", "\\|")}\` | \`${variableOf(name)}\` | ` +
    `\`${option.format(option.default)}\` | ${option.description} |`
  );
  return ["| option | environment | default | what it is |", "| --- | --- | --- | --- |", ...rows, ""].join(
    "\n",
  );
}
