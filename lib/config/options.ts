/**
 * The server's whole configuration, declared once. The flags (`--login-timeout`), the environment variables
 * (`CHAT_LOGIN_TIMEOUT`), the checks, `--help` and docs/CONFIGURATION.md follow from it. Each group has a
 * file.
 */
import type { Option } from "./declare.ts";
import { classic } from "./options/classic.ts";
import { cluster } from "./options/cluster.ts";
import { limits } from "./options/limits.ts";
import { listening } from "./options/listening.ts";
import { operation } from "./options/operation.ts";
import { passwordsAndTokens } from "./options/passwords_and_tokens.ts";
import { rates } from "./options/rates.ts";
import { storage } from "./options/storage.ts";
import { timeouts } from "./options/timeouts.ts";
import { tlsAndProxies } from "./options/tls_and_proxies.ts";

export { DEFAULT_DB } from "./options/storage.ts";

/** Every option, by its name in the code. */
export const options = {
  ...listening,
  ...storage,
  ...cluster,
  ...tlsAndProxies,
  ...limits,
  ...rates,
  ...timeouts,
  ...passwordsAndTokens,
  ...classic,
  ...operation,
} as const satisfies Record<string, Option<string> | Option<number>>;

type Options = typeof options;

/** The name of an option in the code. */
export type OptionName = keyof Options;

/** The groups of options, by their headings in `--help` and docs/CONFIGURATION.md. */
export const groups: ReadonlyMap<string, readonly OptionName[]> = new Map<string, readonly OptionName[]>([
  ["Listening", namesOf(listening)],
  ["Storage", namesOf(storage)],
  ["Cluster", namesOf(cluster)],
  ["TLS and proxies", namesOf(tlsAndProxies)],
  ["Limits", namesOf(limits)],
  ["Rates", namesOf(rates)],
  ["Timeouts", namesOf(timeouts)],
  ["Passwords and tokens", namesOf(passwordsAndTokens)],
  ["Classic clients", namesOf(classic)],
  ["Operation", namesOf(operation)],
]);

/** The options that most deployments need. `--help` lists only these. */
export const commonOptions: readonly OptionName[] = [
  "host",
  "port",
  "db",
  "mysql",
  "redis",
  "workers",
  "tlsCert",
  "tlsKey",
  "trustedProxies",
  "healthPort",
  "maxConnections",
  "logLevel",
];

/** The configuration's values. Times are in milliseconds. */
export type Config = { readonly [Name in OptionName]: Options[Name] extends Option<infer T> ? T : never };

/** Returns the flag of an option, without its dashes: `loginTimeout` is `login-timeout`. */
export function flagOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Returns the environment variable of an option: `loginTimeout` is `CHAT_LOGIN_TIMEOUT`. */
export function variableOf(name: string): string {
  return `CHAT_${flagOf(name).replaceAll("-", "_").toUpperCase()}`;
}

function namesOf(group: Partial<Options>): readonly OptionName[] {
  return Object.keys(group) as OptionName[];
}
