/** Reads a command line and an environment into a {@link Config}. */
import { parseArgs } from "@std/cli/parse-args";
import type { Option } from "./declare.ts";
import { type Environment, readVariables, type Warning } from "./environment.ts";
import { formerFlagOf, formerVariableOf } from "./former_names.ts";
import { type Config, flagOf, type OptionName, options, variableOf } from "./options.ts";

/** A fault of the configuration, in one line for the user. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/** The work that the command line asks for, with its configuration and warnings about that. */
export type Command =
  | { run: Config; warnings: readonly Warning[] }
  | { upgradeCheck: Config; warnings: readonly Warning[] }
  | { help: "common" | "all" }
  | { version: true };

type Value = string | number;

/** The text of an option, and the name of the flag or variable that it comes from. */
interface Given {
  readonly text: string;
  readonly source: string;
}

const optionEntries = Object.entries(options) as [OptionName, Option<Value>][];

const optionNames = optionEntries.map(([name]) => name);

/** Flags that may stand without a value, with their value then. */
const BARE_FLAGS: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    optionEntries.filter(([, { bare }]) => bare).map(([name]) => [`--${flagOf(name)}`, "yes"]),
  ),
  "--help": "common",
  "-h": "common",
};

/** Returns the configuration of a server without arguments and variables. */
export function defaults(): Config {
  return Object.fromEntries(optionEntries.map(([name, option]) => [name, option.default])) as Config;
}

/**
 * Reads the server's arguments, `[HOST] [PORT] [options]`. Flags beat positional arguments, which beat the
 * environment, which beats the defaults. Throws a {@link ConfigError}.
 */
export function parseCommand(args: readonly string[], env: Environment): Command {
  const flags = parseFlags(args);
  if (flags.help !== undefined) return { help: helpKind(String(flags.help)) };
  if (flags.version) return { version: true };

  const positionals = flags._.map(String);
  if (positionals.length > 2) {
    throw new ConfigError(`too many arguments: ${positionals.join(" ")}; usage: main.ts [HOST] [PORT]`);
  }
  const port = positionals.pop();
  const [host] = positionals;
  const warnings: Warning[] = [];
  const given = new Map<OptionName, Given>();
  if (port !== undefined) given.set("port", { text: port, source: "the port" });
  if (host !== undefined) given.set("host", { text: host, source: "the host" });
  for (const name of optionNames) {
    const former = formerFlagOf(name);
    const flag = oneOf(
      [`--${flagOf(name)}`, flags[flagOf(name)]],
      [`--${former}`, former && flags[former]],
      warnings,
    );
    if (flag) given.set(name, flag);
  }
  readEnvironment(env, given, warnings);

  const config: Config = { ...defaults(), ...parsedValues(given) };
  validateCombination(config);
  const changed = SCRYPT_OPTIONS.filter((name) => config[name] !== options[name].default);
  warnings.push(...changed.map((name) => scryptWarning(given.get(name)!)));
  warnings.push(
    ...SECRET_OPTIONS.filter((name) => hasPassword(String(flags[name] ?? ""))).map(passwordWarning),
  );
  if (!flags["upgrade-check"]) return { run: config, warnings };
  if (!config.mysql) throw new ConfigError("--upgrade-check needs --mysql");
  return { upgradeCheck: config, warnings };
}

function parseFlags(args: readonly string[]): ReturnType<typeof parseArgs> {
  const former = optionNames.map(formerFlagOf).filter((flag) => flag !== undefined);
  return parseArgs(args.map((arg) => Object.hasOwn(BARE_FLAGS, arg) ? bareFlag(arg) : arg), {
    string: [...optionNames.map(flagOf), ...former, "help", "_"],
    boolean: ["version", "upgrade-check"],
    unknown(arg, key) {
      if (key !== undefined) {
        throw new ConfigError(`unknown option ${arg.split("=")[0]}; --help=all lists the options`);
      }
    },
  });
}

/** Returns the flag with the value that it has without one. */
function bareFlag(arg: string): string {
  return `${arg === "-h" ? "--help" : arg}=${BARE_FLAGS[arg]}`;
}

function helpKind(value: string): "common" | "all" {
  if (value === "common" || value === "all") return value;
  throw new ConfigError(`--help must be all or have no value, not "${value}"`);
}

/**
 * Adds the values of variables for options without a value on the command line, whose variables may contain
 * anything.
 */
function readEnvironment(env: Environment, given: Map<OptionName, Given>, warnings: Warning[]): void {
  const unset = optionNames.filter((name) => !given.has(name));
  const former = unset.map(formerVariableOf).filter((variable) => variable !== undefined);
  const { values, warnings: found } = readVariables(env, [...unset.map(variableOf), ...former]);
  warnings.push(...found);
  for (const name of unset) {
    const former = formerVariableOf(name);
    const variable = oneOf(
      [variableOf(name), values.get(variableOf(name))],
      [former, former && values.get(former)],
      warnings,
    );
    if (variable) given.set(name, variable);
  }
}

/**
 * Returns the text under an option's name or former name, with a warning in the latter case. Throws a
 * {@link ConfigError} if both names have one.
 */
function oneOf(
  [name, text]: readonly [string, unknown],
  [former, formerText]: readonly [string | undefined, unknown],
  warnings: Warning[],
): Given | undefined {
  if (former === undefined || formerText === undefined) {
    return text === undefined ? undefined : { text: String(text), source: name };
  }
  if (text !== undefined) {
    throw new ConfigError(`${former} is the former name of ${name}, and both are given: remove ${former}`);
  }
  warnings.push({
    event: "an option has a new name",
    fields: { option: former, hint: `use ${name}; the next release will not accept ${former}` },
  });
  return { text: String(formerText), source: former };
}

function parsedValues(given: ReadonlyMap<OptionName, Given>): Partial<Config> {
  const values = optionEntries.flatMap(([name, option]) => {
    const one = given.get(name);
    return one ? [[name, parsedValue(option, one)]] : [];
  });
  return Object.fromEntries(values);
}

function parsedValue(option: Option<Value>, { text, source }: Given): Value {
  try {
    return option.parse(text);
  } catch (error) {
    const shownValue = option.secret ? "" : `, not "${text}"`;
    throw new ConfigError(`${source} ${(error as Error).message}${shownValue}`, { cause: error });
  }
}

/** Options that set the cost of new hashes in earlier releases. A default does no harm. */
const SCRYPT_OPTIONS = ["scryptLn", "scryptR", "scryptP"] as const;

function scryptWarning({ source }: Given): Warning {
  return {
    event: "an option has no effect on new password hashes, which are Argon2id",
    fields: {
      option: source,
      hint:
        "use --argon2-memory and --argon2-passes; it is only for hashes of earlier releases that cost more " +
        "than the default",
    },
  };
}

/** Options whose URL may contain a password. */
const SECRET_OPTIONS = ["mysql", "redis"] as const;

/** Returns whether one of the URLs, with commas between them, contains a password. */
export function hasPassword(urls: string): boolean {
  return urls.split(",").some((url) => URL.canParse(url) && new URL(url).password !== "");
}

/** Returns the warning about a password in the value of `--name`. */
export function passwordWarning(name: typeof SECRET_OPTIONS[number]): Warning {
  return {
    event: "a password is on the command line, where all users of this machine can read it",
    fields: {
      option: `--${name}`,
      hint: `give it in the environment, as ${variableOf(name)}, or in a file, by --${name}-password-file`,
    },
  };
}

/** Checks the rules that concern more than one option. Throws a {@link ConfigError}. */
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
    throw new ConfigError(
      "--proxy-required needs --trusted-proxies: the server reads headers from these alone",
    );
  }
  if (config.healthHost && !config.healthPort) throw new ConfigError("--health-host needs --health-port");
  if (!tlsCert !== !tlsKey) {
    throw new ConfigError(tlsCert ? "--tls-cert needs --tls-key" : "--tls-key needs --tls-cert");
  }
}

/** Checks that a password file has a URL without a password beside it. Throws a {@link ConfigError}. */
export function checkPassword(name: typeof SECRET_OPTIONS[number], urls: string, passwordFile: string): void {
  if (!passwordFile) return;
  if (!urls) throw new ConfigError(`--${name}-password-file needs --${name}`);
  if (hasPassword(urls)) {
    throw new ConfigError(
      `both the URL of --${name} and --${name}-password-file give a password: remove one of them`,
    );
  }
}
