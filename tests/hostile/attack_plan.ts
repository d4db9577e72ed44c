/** What the program and its attackers, a process of their own, tell each other. */
import type { Address } from "../harness/server.ts";

/** A registered user who means harm, and the token of a login that has ended. */
export interface HostileUser {
  readonly id: number;
  readonly token: string;
}

/** All connections of one kind. */
export interface Squad {
  /** The kind's name. */
  readonly kind: string;
  readonly connections: number;
  /** One for each connection, where the kind logs in; none otherwise. */
  readonly users: readonly HostileUser[];
  /** A group with all of the users, in which large messages were said; 0 where there are none. */
  readonly group: number;
}

/** What the attackers are to do, until they are told to stop. */
export interface Plan {
  readonly target: Address;
  readonly squads: readonly Squad[];
}

/** What a squad has achieved. */
export interface Tally {
  /** Connections that were made, those made again included. */
  connected: number;
  /** Connections that could not be made. */
  unconnected: number;
  /** Connections that the server closed. */
  closed: number;
  sentBytes: number;
  receivedBytes: number;
  /** Replies by their errno. */
  replies: Record<string, number>;
  /** Messages that the server sent and that answer nothing. */
  pushed: number;
}

/** A tally of nothing yet. */
export function newTally(): Tally {
  return { connected: 0, unconnected: 0, closed: 0, sentBytes: 0, receivedBytes: 0, replies: {}, pushed: 0 };
}
