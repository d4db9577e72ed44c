/** Former names of options. They stay valid for one release, with a warning, and are not in `--help`. */
import { flagOf, type OptionName, variableOf } from "./options.ts";

/** The former name of each renamed option, in the form of a name in the code. */
const FORMER: Readonly<Partial<Record<OptionName, string>>> = {
  loginTimeout: "loginWithin",
  pingInterval: "pingAfter",
  pongTimeout: "pongWithin",
  writeStallTimeout: "readWithin",
  drainTimeout: "drainSeconds",
  proxyHeaderTimeout: "proxyWithin",
  attemptsWindow: "attemptsWithin",
  maxFailedLogins: "accountAttempts",
  maxLoginsPerAddress: "addressAttempts",
  maxRegistrationsPerAddress: "addressRegistrations",
  maxInFlight: "maxPending",
  maxJsonDepth: "maxDepth",
  maxJsonValues: "maxValues",
  writeBufferBytes: "outboxBytes",
  exemptAddresses: "unlimitedAddresses",
  sharedRate: "spareRate",
  unauthenticatedRate: "strangerRate",
  classicWriteInterval: "classicGap",
};

/** The renamed options, by their names in the code. */
export const renamedOptions = Object.keys(FORMER) as readonly OptionName[];

/** Returns the former flag of an option, without its dashes. */
export function formerFlagOf(name: OptionName): string | undefined {
  const former = FORMER[name];
  return former && flagOf(former);
}

/** Returns the former environment variable of an option. */
export function formerVariableOf(name: OptionName): string | undefined {
  const former = FORMER[name];
  return former && variableOf(former);
}
