/** The messages between the program and the attackers' process. */
import type { Address } from "../harness/server.ts";

/** A registered user that attacks, with the token of an earlier login. */
export interface AttackingUser {
  readonly id: number;
  readonly token: string;
}

/** All connections of one attack type. */
export interface Squad {
  /** The name of the attack type. */
  readonly attackType: string;
  readonly connections: number;
  /** One user for each connection when the attack type logs in, else none. */
  readonly users: readonly AttackingUser[];
  /** The id of a group with all of the users and some large messages; 0 without users. */
  readonly group: number;
}

/** The orders to the attackers. */
export interface Plan {
  readonly target: Address;
  readonly squads: readonly Squad[];
}

/** Counts of what a squad has sent and received. */
export interface Tally {
  /** Connections opened, reconnects included. */
  connected: number;
  /** Connections that could not be opened. */
  unconnected: number;
  /** Connections that the server closed. */
  closed: number;
  sentBytes: number;
  receivedBytes: number;
  /** Replies by their errno. */
  replies: Record<string, number>;
  /** Messages from the server that are no replies. */
  pushed: number;
}

/** Returns a tally of zeros. */
export function newTally(): Tally {
  return { connected: 0, unconnected: 0, closed: 0, sentBytes: 0, receivedBytes: 0, replies: {}, pushed: 0 };
}
