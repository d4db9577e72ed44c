/** The scenarios that are measured. */
import { ofAbsent, ofGroup, ofLogins, ofPairs, type Sample } from "./sample.ts";
import { PRELOAD, type SetupName } from "./setups.ts";

/** One scenario: the options of the load program, and the setup. */
export interface Scenario {
  /** The name for `--only`. */
  readonly name: string;
  /** The title in the table. */
  readonly title: string;
  readonly setup: SetupName;
  /** Options of the load program, besides the servers, the duration and the processes. */
  readonly args: readonly string[];
  /** Reads the load program's JSON. */
  readonly read: (json: unknown) => readonly Sample[];
}

const PRELOAD_TEXT = `${PRELOAD.messages.toLocaleString("en")} messages and ${
  PRELOAD.users.toLocaleString("en")
} users in the database`;

/** The scenarios that are repeated. */
export const scenarios: readonly Scenario[] = [
  relay("relay-embedded-1", "embedded, 50 pairs, 1 in flight each", "embedded", 50, 1),
  relay("relay-embedded-32", "embedded, 50 pairs, 32 in flight each", "embedded", 50, 32),
  relay("pair-embedded", "embedded, 1 pair, 1 in flight", "embedded", 1, 1),
  relay("relay-mysql-32", "one node on MariaDB, 50 pairs, 32 in flight each", "mysql", 50, 32),
  relay("pair-mysql", "one node on MariaDB, 1 pair, 1 in flight", "mysql", 1, 1),
  relay("relay-cluster-32", "across two nodes, 50 pairs, 32 in flight each", "cluster", 50, 32),
  absent("absent-embedded", "embedded, for 50 absent users, 32 in flight each", "embedded"),
  absent("absent-mysql", "one node on MariaDB, for 50 absent users, 32 in flight each", "mysql"),
  group("group-embedded-1", "embedded, group of 50, 1 sends, 32 in flight", "embedded", [
    ...["--group", "50", "--senders", "1", "--window", "32"],
  ]),
  group("group-embedded-4", "embedded, group of 50, 4 send, 32 in flight each", "embedded", [
    ...["--group", "50", "--senders", "4", "--window", "32"],
  ]),
  group("group-cluster", "across two nodes, group of 1,500, 20 messages/s", "cluster", [
    ...["--group", "1500", "--rate", "20"],
  ]),
  logins("logins-embedded", "embedded, logins by token, 50 at a time", "embedded"),
  logins("logins-cluster", "two nodes, logins by token, 50 at a time", "cluster"),
];

/** Scenarios on a preloaded database. They run only on request, as the preload takes minutes. */
export const preloadedScenarios: readonly Scenario[] = [
  relay("relay-old", `embedded, 50 pairs, 32 in flight each, ${PRELOAD_TEXT}`, "old", 50, 32),
  logins("logins-old", `embedded, logins by token, 50 at a time, ${PRELOAD_TEXT}`, "old"),
  relay(
    "relay-mysql-old",
    `one node on MariaDB, 50 pairs, 32 in flight each, ${PRELOAD_TEXT}`,
    "mysqlOld",
    50,
    32,
  ),
  logins("logins-mysql", "one node on MariaDB, logins by token, 50 at a time", "mysql"),
  logins(
    "logins-mysql-old",
    `one node on MariaDB, logins by token, 50 at a time, ${PRELOAD_TEXT}`,
    "mysqlOld",
  ),
];

/** The idle connections. They are measured once, and only on request, as it takes minutes. */
export const idle = { name: "idle", setup: "empty", connections: 15_000 } as const;

/** The reconnect storm after a node was killed, also once and on request. */
export const storm = { name: "storm", setup: "doomed", clients: 5_000 } as const;

/** The names of the scenarios that run once. */
export const onceOnlyScenarios = [idle.name, storm.name] as const;

function relay(name: string, title: string, setup: SetupName, pairs: number, window: number): Scenario {
  return { name, title, setup, args: ["--pairs", `${pairs}`, "--window", `${window}`], read: ofPairs };
}

function absent(name: string, title: string, setup: SetupName): Scenario {
  return { name, title, setup, args: ["--absent", "50", "--window", "32"], read: ofAbsent };
}

function group(name: string, title: string, setup: SetupName, args: readonly string[]): Scenario {
  return { name, title, setup, args, read: ofGroup };
}

function logins(name: string, title: string, setup: SetupName): Scenario {
  return { name, title, setup, args: ["--logins", "token", "--window", "50"], read: ofLogins };
}
