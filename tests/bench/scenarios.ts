/** The scenarios that are measured. */
import type { Dialect } from "../load/options.ts";
import { ofAbsent, ofGroup, ofLogins, ofPairs, type Sample } from "./sample.ts";
import { PRELOAD, type SetupName, setupSpecs } from "./setups.ts";

/** The load of a scenario: the options of the load program, and how its result is read. */
export interface Load {
  /** The description in the table. */
  readonly what: string;
  /** Options of the load program, besides the servers, the duration and the processes. */
  readonly args: readonly string[];
  /** Reads the load program's JSON. */
  readonly read: (json: unknown) => readonly Sample[];
}

/** One scenario. */
export interface Scenario {
  /** The name for `--only`. */
  readonly name: string;
  /** The title in the table. */
  readonly title: string;
  readonly load: Load;
}

/** A scenario on a setup of the benchmark. */
export interface OwnScenario extends Scenario {
  readonly setup: SetupName;
}

const one = relay("50 pairs, 1 in flight each", 50, 1);
const many = relay("50 pairs, 32 in flight each", 50, 32);
const single = relay("1 pair, 1 in flight", 1, 1);
const open = pairs("50 pairs, 5,000 messages/s", "--pairs", "50", "--rate", "5000");
const medium = relay("50 pairs, 2 in flight each, 16 KB bodies", 50, 2, "--size", "16000");
const large = relay("50 pairs, 2 in flight each, 50 KB bodies", 50, 2, "--size", "50000");
const absent: Load = {
  what: "for 50 absent users, 32 in flight each",
  args: ["--absent", "50", "--window", "32"],
  read: ofAbsent,
};
const group1 = group("group of 50, 1 sends, 32 in flight", "--group", "50", "--window", "32");
const group4 = group(
  "group of 50, 4 send, 32 in flight each",
  ...["--group", "50", "--window", "32"],
  "--senders",
  "4",
);
const largeGroup = group("group of 1,500, 20 messages/s", "--group", "1500", "--rate", "20");
const passwords = logins("logins by password, 10 at a time", "password", 10);
const tokens = logins("logins by token, 50 at a time", "token", 50);
// So many that none of them exceeds the rate of logins for one user, see LOGIN_RATE in rate_limiter.ts.
const tokensOfMany = logins("logins by token, 50 at a time, of 8,000 users", "token", 50, "--users", "8000");

/** The scenarios that are repeated: first with the defaults of a server, then without rate limits. */
export const scenarios: readonly OwnScenario[] = [
  on("defaults", "relay-1", one),
  on("defaults", "relay-32", many),
  on("defaults", "rate", open),
  on("defaults", "16kb", medium),
  on("defaults", "50kb", large),
  on("defaults", "group-1500", largeGroup),
  on("defaults", "tokens", tokensOfMany),
  on("hashing", "passwords", passwords),
  on("embedded", "relay-1", one),
  on("embedded", "relay-32", many),
  on("embedded", "rate", open),
  on("bodies", "16kb", medium),
  on("bodies", "50kb", large),
  on("embedded", "pair", single),
  on("embedded", "absent", absent),
  on("embedded", "group-1", group1),
  on("embedded", "group-4", group4),
  on("embedded", "tokens", tokens),
  on("mysql", "relay-32", many),
  on("mysql", "pair", single),
  on("mysql", "absent", absent),
  on("cluster", "relay-32", many),
  on("cluster", "pair", single),
  on("cluster", "group-1500", largeGroup),
  on("cluster", "tokens", tokens),
];

const PRELOAD_TEXT = `${PRELOAD.messages.toLocaleString("en")} messages and ${
  PRELOAD.users.toLocaleString("en")
} users in the database`;

/** Scenarios on a preloaded database. They run only on request, as the preload takes minutes. */
export const preloadedScenarios: readonly OwnScenario[] = [
  preloaded("old", "relay-32", many),
  preloaded("old", "tokens", tokens),
  preloaded("mysql-old", "relay-32", many),
  on("mysql", "tokens", tokens),
  preloaded("mysql-old", "tokens", tokens),
];

/** Idle connections. They are measured once. */
export const idle = { name: "idle", setup: "empty", connections: 5_000 } as const;

/** The reconnect storm after a node was killed, also once, and only on request, as it takes minutes. */
export const storm = { name: "storm", setup: "doomed", clients: 5_000 } as const;

/** The names of the scenarios that run once. */
export const onceOnlyScenarios = [idle.name, storm.name] as const;

/** Returns the scenarios for a server that the benchmark does not start. */
export function foreignScenarios(dialect: Dialect): readonly Scenario[] {
  return [one, many, single].map(({ what, args, read }) => ({
    name: what,
    title: `${dialect}: ${what}`,
    load: { what, args: [...args, "--dialect", dialect], read },
  }));
}

function on(setup: SetupName, name: string, load: Load): OwnScenario {
  return {
    name: `${name}-${setup}`,
    title: `${setupSpecs[setup].title}: ${load.what}`,
    load,
    setup,
  };
}

function preloaded(setup: SetupName, name: string, load: Load): OwnScenario {
  return on(setup, name, { ...load, what: `${load.what}, ${PRELOAD_TEXT}` });
}

function pairs(what: string, ...args: readonly string[]): Load {
  return { what, args, read: ofPairs };
}

function relay(what: string, count: number, window: number, ...more: readonly string[]): Load {
  return pairs(what, "--pairs", `${count}`, "--window", `${window}`, ...more);
}

function group(what: string, ...args: readonly string[]): Load {
  return { what, args, read: ofGroup };
}

function logins(what: string, by: string, window: number, ...more: readonly string[]): Load {
  return { what, args: ["--logins", by, "--window", `${window}`, ...more], read: ofLogins };
}
